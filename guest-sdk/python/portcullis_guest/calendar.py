"""Dates, time zones, shifts and holidays.

An instant is a whole number of milliseconds since the Unix epoch, as `call.received` is. A local
time is a `datetime` without zone, a day is a `date`, and the standard library computes with both.

Time zones are those of the IANA database in `zones`, in the sandbox and in tests: `zoneinfo` has no
data in the sandbox, and looks at the machine's elsewhere. They are right for local times from
1970-01-01 to 9999-12-31, as far as the laws of today are those of then. Outside of that, and for
text that is not what it must be, functions return None.

A local time that occurs twice (clocks set back) is the earlier of the two; one that does not occur
(clocks set forward) is moved on by the length of the gap. `Temporal` and RFC 5545 do the same. The
attribute `fold` is not used.

Invariant: nothing here depends on a clock, a locale or the machine.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from calendar import monthrange
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple, Optional, TypeVar

from .host import lookup
from .settings import Problems
from .zones import TZDB, ZONES

__all__ = [
    "Holidays", "Shift", "TZDB", "Zone", "add_days", "add_months", "holiday_in_table", "parse_date", "parse_instant", "shift",
    "zone",
]

Day = TypeVar("Day", date, datetime)


def parse_date(text: Any) -> Optional[date]:
    """The day that text such as `2026-11-30` names."""
    if not isinstance(text, str) or not _DATE.fullmatch(text):
        return None
    try:
        return date(int(text[:4]), int(text[5:7]), int(text[8:]))
    except ValueError:
        return None


def parse_instant(text: Any) -> Optional[int]:
    """The instant of a time with an offset, such as `2026-11-30T17:00:00+01:00` (RFC 3339). Parts of
    milliseconds are cut off, and a leap second counts as the second before it."""
    match = _INSTANT.fullmatch(text) if isinstance(text, str) else None
    day = parse_date(text[:10]) if match else None
    if match is None or day is None:
        return None
    hour, minute, second = (int(match[part]) for part in (1, 2, 3))
    offset_hours, offset_minutes = int(match[6] or 0), int(match[7] or 0)
    if hour > 23 or minute > 59 or second > 60 or offset_hours > 23 or offset_minutes > 59:
        return None
    offset = (offset_hours * 60 + offset_minutes) * (-1 if match[5] == "-" else 1)
    minutes = (_number(day) * 24 + hour) * 60 + minute - offset
    millis = int(((match[4] or "") + "00")[:3])
    return (minutes * 60 + min(second, 59)) * 1_000 + millis


def add_days(day: Day, days: int) -> Optional[Day]:
    """A day, or a local time, some days later; earlier, where `days` is negative."""
    try:
        return day + timedelta(days)
    except OverflowError:
        return None


def add_months(day: Day, months: int) -> Optional[Day]:
    """A day, or a local time, some months later. Where that month has no such day, it is its last:
    one month after 31 January is 28 or 29 February."""
    month = day.year * 12 + day.month - 1 + months
    year, month = month // 12, month % 12 + 1
    if not date.min.year <= year <= date.max.year:
        return None
    return day.replace(year=year, month=month, day=min(day.day, monthrange(year, month)[1]))


class Shift(NamedTuple):
    """Hours of a day, by the clock on the wall: from `begin` on and before `end`, in minutes since
    midnight. Where `end` is not later, they go over midnight."""

    begin: int
    end: int


def shift(begin: Any, end: Any) -> Optional[Shift]:
    """Hours such as `22:00` to `06:00`. They can end at `24:00`, and the same time twice means all
    24 hours."""
    first, last = _minutes(begin), 1_440 if end == "24:00" else _minutes(end)
    return None if first is None or last is None else Shift(first, last)


def zone(name: Any) -> Optional[Zone]:
    """A time zone by its name in the IANA database, such as `Europe/Berlin`. It takes time: ask for
    it in `configure`."""
    for line in ZONES if isinstance(name, str) else ():
        names, offsets, changes, rule = line.split("|")
        if name in names.split(" "):
            return Zone(name, offsets, changes, rule)
    return None


class Zone:
    """A time zone."""

    def __init__(self, name: str, offsets: str, changes: str, rule: str) -> None:
        """Only for `zone`; the texts are those of a line of `zones`."""
        self.name = name
        known = [int(offset) for offset in offsets.split(",")]
        self._rule = tuple(int(number) for number in rule.split(","))
        # The offset before each change, and the last one's after it.
        self._moments: list[int] = []
        self._offsets = [known[0]]
        moment = _BEGINNING
        for quarters, seconds, index in _CHANGE.findall(changes):
            moment += _base64(seconds) if seconds else _base64(quarters) * 900
            self._moments.append(moment)
            self._offsets.append(known[_DIGITS.index(index)])

    def local(self, instant: int) -> Optional[datetime]:
        """The local date and time of an instant."""
        second, millis = divmod(instant, 1_000)
        days, rest = divmod(second + self._offset(second), _DAY)
        if not 0 <= days <= _LAST_DAY:
            return None
        return _EPOCH + timedelta(days, rest, millis * 1_000)

    def instant(self, local: datetime) -> Optional[int]:
        """The instant at which calendars and clocks show this."""
        if local.year < 1970:
            return None
        since = local.replace(tzinfo=None) - _EPOCH
        return self._find(since.days * _DAY + since.seconds) * 1_000 + since.microseconds // 1_000

    def start_of_day(self, day: date) -> Optional[int]:
        """The first instant of a day: midnight, or the end of the gap where there is no midnight. A
        day that does not occur starts when the next one does."""
        return None if day.year < 1970 else self._start(_number(day)) * 1_000

    def end_of_day(self, day: date) -> Optional[int]:
        """The first instant after a day, which is the start of the next."""
        return None if day.year < 1970 else self._start(_number(day) + 1) * 1_000

    def shift_day(self, instant: int, hours: Shift) -> Optional[date]:
        """The day on which the shift began that this instant is within; None where it is within
        none. The clock on the wall decides: the night in which clocks change has an hour more or
        less."""
        local = self.local(instant)
        if local is None:
            return None
        minute = local.hour * 60 + local.minute
        if hours.begin < hours.end:
            return local.date() if hours.begin <= minute < hours.end else None
        if minute >= hours.begin:
            return local.date()
        return add_days(local.date(), -1) if minute < hours.end else None

    def _offset(self, second: int) -> int:
        """Seconds east of UTC."""
        if self._moments and second < self._moments[-1]:
            return self._offsets[bisect_right(self._moments, second)]
        if len(self._rule) == 1:
            return self._rule[0]
        standard, summer, *rules = self._rule
        # The calendar repeats itself after 400 years, which are whole weeks.
        second %= _CYCLE
        year = (_EPOCH + timedelta(seconds=second + standard)).year
        begin = _changes_at(year, *rules[:4]) - standard
        end = _changes_at(year, *rules[4:]) - summer
        is_summer = begin <= second < end if begin < end else not end <= second < begin
        return summer if is_summer else standard

    def _find(self, local: int) -> int:
        """The instant of a local time, both in seconds."""
        before, after = self._offset(local - _DAY), self._offset(local + _DAY)
        if self._offset(local - before) != before and self._offset(local - after) == after:
            return local - after
        return local - before

    def _start(self, day: int) -> int:
        """The first instant of a day, which is a number of days since the epoch, in seconds."""
        local = day * _DAY
        before, after = self._offset(local - _DAY), self._offset(local + _DAY)
        if self._offset(local - before) == before or self._offset(local - after) == after:
            return self._find(local)
        # No midnight: the day begins when the clocks change.
        early, late = local - after, local - before
        while late - early > 1:
            middle = (early + late) // 2
            early, late = (middle, late) if self._offset(middle) == before else (early, middle)
        return late


class Holidays:
    """Days in settings: `2026-12-25`, or `12-25` for every year. `day in holidays` asks."""

    def __init__(self, entries: Any, problems: Optional[Problems] = None, path: str = "holidays") -> None:
        """Tells what is no such day as a problem below `path`, and leaves it out."""
        self._days: set[date] = set()
        self._yearly: set[tuple[int, int]] = set()
        if not isinstance(entries, (list, tuple)):
            if problems is not None:
                problems.at(path, "is no array")
            entries = []
        for index, entry in enumerate(entries):
            yearly = isinstance(entry, str) and len(entry) == 5
            # A leap year, which has every day.
            day = parse_date(f"2000-{entry}" if yearly else entry)
            if day is None:
                if problems is not None:
                    problems.at(f"{path}[{index}]", "is no day, such as `2026-12-25`, or `12-25` for every year")
            elif yearly:
                self._yearly.add((day.month, day.day))
            else:
                self._days.add(day)

    def __contains__(self, day: date) -> bool:
        return date(day.year, day.month, day.day) in self._days or (day.month, day.day) in self._yearly


def holiday_in_table(table: str, day: date) -> bool:
    """Whether a reference table has a row with this day (`2026-12-25`) as its key. Needs the
    capability `reference`; `lookup` also tells whether the table is stale, and what the row says."""
    return len(lookup(table, f"{day.year:04}-{day.month:02}-{day.day:02}").rows) > 0


def _changes_at(year: int, month: int, week: int, weekday: int, seconds: int) -> int:
    """When clocks change in a year, in local seconds since the epoch: in week 1 to 5 of a month,
    where 5 is the last, on a weekday, where 0 is Sunday."""
    first, length = date(year, month, 1).isoweekday(), monthrange(year, month)[1]
    day = 1 + (weekday - first) % 7 + 7 * (week - 1)
    return _number(date(year, month, day if day <= length else day - 7)) * _DAY + seconds


def _number(day: date) -> int:
    """Days since the epoch."""
    return day.toordinal() - _EPOCH.toordinal()


def _minutes(text: Any) -> Optional[int]:
    """Minutes since midnight, of text such as `07:30`."""
    if not isinstance(text, str) or not _TIME.fullmatch(text):
        return None
    hour, minute = int(text[:2]), int(text[3:])
    return hour * 60 + minute if hour < 24 and minute < 60 else None


def _base64(text: str) -> int:
    """A number in the digits of `zones`."""
    number = 0
    for digit in text:
        number = number * 64 + _DIGITS.index(digit)
    return number


_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(r"[0-9]{2}:[0-9]{2}")
_INSTANT = re.compile(
    r"[0-9-]{10}[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_"
_CHANGE = re.compile(r"(?:([^~]{3})|~(.{6}))(.)")
_EPOCH = datetime(1970, 1, 1)
_DAY = 86_400
_LAST_DAY = date.max.toordinal() - _EPOCH.toordinal()
_CYCLE = 146_097 * _DAY
_BEGINNING = -_DAY
