#!/usr/bin/env python3
"""Writes `vectors.json`, which the tests of all four SDKs read, with Python's `zoneinfo` as the oracle.

    PYTHONPATH=DIR python3 vectors.py [--check] [--all]

DIR has the package `tzdata` in the version of `requirements.txt`. `--check` compares and writes
nothing. `--all` holds the SDK for Python against the oracle at every change of every zone from 1970
to 2100, which takes minutes.

Invariant: no expected value comes from code or tables of an SDK. Offsets come from `zoneinfo`, days
and months from `datetime`, starts of days from looking at the local calendar every 30 seconds, and
lists of text that is refused are written by hand.
"""

from __future__ import annotations

import functools
import json
import random
import sys
import zoneinfo
from calendar import monthrange
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Iterator, Optional

from generate import VERSION, names

HERE = Path(__file__).resolve().parent
# Only the package has zones.
zoneinfo.reset_tzpath([])
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
FIRST = int(datetime(1970, 1, 2, tzinfo=timezone.utc).timestamp())
LAST = int(datetime(2101, 1, 1, tzinfo=timezone.utc).timestamp())
SAMPLES = 500
# Both hemispheres, half hours, changes at and over midnight, a day that does not occur, negative
# summer time, no changes for a month, and the ends of the map.
CHOSEN = [
    "Africa/Casablanca", "Africa/Monrovia", "America/Argentina/San_Luis", "America/Havana", "America/New_York", "America/Nuuk",
    "America/Santiago", "America/Sao_Paulo", "America/Scoresbysund", "America/St_Johns", "Antarctica/Troll", "Asia/Amman",
    "Asia/Beirut", "Asia/Gaza", "Asia/Kathmandu", "Asia/Tehran", "Asia/Tokyo", "Australia/Lord_Howe", "Australia/Sydney",
    "Europe/Berlin", "Europe/Dublin", "Europe/London", "Pacific/Apia", "Pacific/Auckland", "Pacific/Chatham", "Pacific/Kiritimati",
    "Pacific/Kwajalein", "UTC",
]  # fmt: skip


def offset(zone: zoneinfo.ZoneInfo, second: int) -> int:
    """Seconds east of UTC, at a second since the epoch."""
    found = (EPOCH + timedelta(seconds=second)).astimezone(zone).utcoffset()
    assert found is not None
    return round(found.total_seconds())


@functools.cache
def changes(name: str) -> list[list[int]]:
    """Every change of offset from 1970 to 2100: its second, and the offset from then on."""
    zone = zoneinfo.ZoneInfo(name)
    found, step = [], 12 * 3600
    before = offset(zone, FIRST)
    for second in range(FIRST + step, LAST, step):
        after = offset(zone, second)
        if after != before:
            early, late = second - step, second
            while late - early > 1:
                middle = (early + late) // 2
                early, late = (middle, late) if offset(zone, middle) == before else (early, middle)
            found.append([late, after])
            before = after
    return found


def local(name: str, millis: int) -> datetime:
    """The local time, without zone."""
    moment = EPOCH + timedelta(milliseconds=millis)
    return moment.astimezone(zoneinfo.ZoneInfo(name)).replace(tzinfo=None, fold=0)


def spelled(moment: datetime) -> str:
    """Always with milliseconds."""
    return moment.isoformat(timespec="milliseconds")


def instant(name: str, moment: datetime) -> int:
    """The earlier of two, and moved on in a gap: PEP 495 says so of `fold=0`."""
    aware = moment.replace(tzinfo=zoneinfo.ZoneInfo(name), fold=0)
    return (aware - EPOCH) // timedelta(milliseconds=1)


def start_of_day(name: str, day: date) -> int:
    """By looking every 30 seconds, which all changes are multiples of. Before the first look, no
    offset of these days shows the day."""
    zone = zoneinfo.ZoneInfo(name)
    midnight = (day - date(1970, 1, 1)).days * 86_400
    second = midnight - max(offset(zone, midnight + hour * 3600) for hour in range(-27, 28)) - 30
    while (EPOCH + timedelta(seconds=second)).astimezone(zone).date() < day:
        second += 30
    return second * 1_000


def offsets_sum(name: str) -> int:
    """The offsets of a zone at `SAMPLES` seconds, as one number. The seconds are those of a linear
    congruential generator, so that each test has them; arithmetic stays below 2^53."""
    zone, total = zoneinfo.ZoneInfo(name), 0
    for second in samples():
        total = (total * 31 + offset(zone, second) + 86_400) % 1_000_003
    return total


def samples() -> Iterator[int]:
    """Seconds between 1970-01-02 and 2100-12-31."""
    state = 1
    for _ in range(SAMPLES):
        state = state * 16_807 % 2_147_483_647
        yield FIRST + state * 2 % (LAST - FIRST)


def days_and_months(chance: random.Random) -> Iterator[list[Any]]:
    """A day, its weekday from 1 for Monday, days and months to add, and what comes of it."""
    whole = [date(1, 1, 1), date(1900, 2, 28), date(1970, 1, 1), date(2000, 2, 29), date(2024, 1, 31), date(2100, 2, 28), date(9999, 12, 31)]
    whole += [date.fromordinal(chance.randint(1, date.max.toordinal())) for _ in range(60)]
    for day in whole:
        days, months = chance.randint(-40_000, 40_000), chance.randint(-400, 400)
        if day.year == 9999:
            days, months = 1, 1
        if day.year == 1:
            days, months = -1, -1
        if day == date(2024, 1, 31):
            days, months = 29, 1
        try:
            later: Optional[str] = (day + timedelta(days)).isoformat()
        except OverflowError:
            later = None
        count = day.year * 12 + day.month - 1 + months
        year, month = divmod(count, 12)
        in_range = 1 <= year <= 9999
        moved = date(year, month + 1, min(day.day, monthrange(year, month + 1)[1])).isoformat() if in_range else None
        yield [day.isoformat(), day.isoweekday(), days, later, months, moved]


def near(name: str, chance: random.Random) -> list[int]:
    """Milliseconds: beside some changes of a zone, and anywhere."""
    known = changes(name)
    picked = chance.sample(known, min(len(known), 4))
    found = [second * 1_000 + beside for second, _ in picked for beside in (-1, 0, 1_800_000, -5_400_000)]
    return found + [chance.randrange(FIRST * 1_000, LAST * 1_000) for _ in range(4)]


def local_times(name: str, chance: random.Random) -> list[datetime]:
    """Local times inside gaps and overlaps of a zone and at their edges, and anywhere."""
    known, zone = changes(name), zoneinfo.ZoneInfo(name)
    found = []
    for second, after in chance.sample(known, min(len(known), 5)):
        before = offset(zone, second - 1)
        for seconds in (second + before, second + after, second + (before + after) // 2, second + min(before, after) - 1):
            found.append(datetime(1970, 1, 1) + timedelta(seconds=seconds))
    found += [datetime(1970, 1, 2) + timedelta(milliseconds=chance.randrange(0, (LAST - FIRST) * 1_000)) for _ in range(3)]
    # Far from here, and the last one that is supported.
    return found + [datetime(1970, 1, 1), datetime(2400, 2, 29, 12), datetime(9998, 7, 1, 2, 30)]


def local_days(name: str, chance: random.Random) -> list[date]:
    """Days on which clocks change and those beside them."""
    known = changes(name)
    found = [date(2100, 12, 31), date(1970, 1, 2)]
    for second, _ in chance.sample(known, min(len(known), 4)):
        day = local(name, second * 1_000).date()
        found += [day - timedelta(1), day, day + timedelta(1)]
    return found


def shift_cases(name: str, chance: random.Random) -> Iterator[list[Any]]:
    """An instant, a shift, and the day on which it began, or none."""
    for millis in near(name, chance):
        begin, end = chance.choice([("22:00", "06:00"), ("07:00", "19:00"), ("02:30", "03:30"), ("00:00", "24:00"), ("08:00", "08:00"), ("23:30", "00:30")])
        shown = local(name, millis)
        clock = shown.strftime("%H:%M")
        today, yesterday = shown.date(), shown.date() - timedelta(1)
        if end > begin:
            began = today if begin <= clock < end else None
        else:
            began = today if clock >= begin else yesterday if clock < end else None
        yield [name, millis, begin, end, began.isoformat() if began else None]


def vectors() -> dict[str, list[Any]]:
    """All lists."""
    chance = random.Random(20_260_101)
    chosen_days = [
        ("Pacific/Apia", "2011-12-29"), ("Pacific/Apia", "2011-12-30"), ("Pacific/Apia", "2011-12-31"), ("Pacific/Kwajalein", "1993-08-21"),
        ("America/Sao_Paulo", "2018-11-04"), ("America/Sao_Paulo", "2018-02-17"), ("America/Havana", "2026-11-01"),
        ("America/St_Johns", "2006-10-29"), ("America/St_Johns", "2006-04-02"), ("Asia/Beirut", "2026-03-29"),
        ("Australia/Lord_Howe", "2026-04-05"), ("Australia/Lord_Howe", "2026-10-04"), ("Africa/Monrovia", "1972-01-07"),
        ("Asia/Gaza", "2087-03-22"), ("Pacific/Auckland", "1970-01-01"), ("America/New_York", "1970-01-01"),
    ]  # fmt: skip
    instants = [
        "1970-01-01T00:00:00Z", "2026-11-30T17:00:00+05:30", "2026-11-30T17:00:00.250Z", "2026-11-30t17:00:00.2504567-08:00",
        "0001-01-01T00:00:00+00:00", "9999-12-31T23:59:59.999z", "1969-12-31T23:59:59.9999999Z", "2024-02-29T00:00:00-00:00",
        "2000-02-29T23:59:59.5+14:00", "2026-03-29T02:30:00+23:59",
    ]  # fmt: skip
    refused_dates = [
        "", " ", "2026-11-31", "2026-02-29", "2100-02-29", "2026-13-01", "2026-00-10", "2026-01-00", "0000-01-01", "2026-1-1", "20261130",
        "2026-11-30 ", " 2026-11-30", "2026-11-30\n", "30.11.2026", "11/30/2026", "2026-W49-1", "+2026-11-30", "-001-01-01", "10000-01-01",
        "2026-11-30T00:00:00Z", "2026/11/30", "٢٠٢٦-١١-٣٠", "never", "2026-11-3é",
    ]  # fmt: skip
    refused_instants = [
        "", "2026-11-30", "2026-11-30T17:00:00", "2026-11-30T17:00Z", "2026-11-30 17:00:00Z", "2026-11-30T25:00:00Z", "2026-11-30T24:00:00Z",
        "2026-11-30T17:60:00Z", "2026-11-30T17:00:61Z", "2026-11-30T17:00:00+01", "2026-11-30T17:00:00+0100", "2026-11-30T17:00:00+24:00",
        "2026-11-30T17:00:00+01:60", "2026-11-30T17:00:00.Z", "2026-11-30T17:00:00.0123456789Z", "2026-11-30T17:00:00,5Z", "2026-02-30T17:00:00Z",
        "2026-11-30T17:00:00+01:00[Europe/Berlin]", "20261130T170000Z", "2026-11-30T17:00:00Z ", "2026-11-30T17:00:00Z\n", "1796079600",
        "2026-11-30T17:00:00ZZ", "2026-11-30T17:00:00é",
    ]  # fmt: skip
    chosen = [(name, date.fromisoformat(day)) for name, day in chosen_days]
    chosen += [(name, day) for name in CHOSEN for day in local_days(name, chance)]
    return {
        "tzdb": [VERSION],
        "names": [" ".join(names())],
        "dates": list(days_and_months(chance)),
        "refused_dates": refused_dates,
        "instants": [[text, millis_of(text)] for text in instants] + [["2016-12-31T23:59:60.5Z", millis_of("2016-12-31T23:59:59.5Z")]],
        "refused_instants": refused_instants,
        "zones": [[name, offsets_sum(name)] for name in names()],
        "refused_zones": ["", " ", "Europe/Nowhere", "europe/berlin", "Europe/Berlin ", "Europe/Berli", "Europe", "CET-1CEST", "+01:00", "Factory", "|", "Local"],
        "changes": [[name, *[number for change in changes(name) for number in change]] for name in CHOSEN],
        "locals": [[name, millis, spelled(local(name, millis))] for name in CHOSEN for millis in near(name, chance)],
        "outside": [["America/New_York", 0], ["UTC", -1], ["UTC", 253_402_300_800_000], ["Pacific/Kiritimati", 253_402_300_799_999]],
        "inside": [["UTC", 253_402_300_799_999, "9999-12-31T23:59:59.999"], ["Europe/Berlin", 0, "1970-01-01T01:00:00.000"]],
        "to_instants": [[name, spelled(time), instant(name, time)] for name in CHOSEN for time in local_times(name, chance)],
        "days": [[name, day.isoformat(), start_of_day(name, day), start_of_day(name, day + timedelta(1))] for name, day in chosen],
        "last_days": [["UTC", "9999-12-31", 253_402_214_400_000, 253_402_300_800_000], ["Asia/Tokyo", "9999-12-31", 253_402_182_000_000, 253_402_268_400_000]],
        "shifts": [case for name in CHOSEN for case in shift_cases(name, chance)],
        "refused_shifts": [["24:00", "06:00"], ["22:00", "24:01"], ["7:00", "19:00"], ["07:00", "19:60"], ["07:00:00", "19:00"], ["", ""], ["07.00", "19:00"], ["07:00", "19:00 "]],
    }


def millis_of(text: str) -> int:
    """RFC 3339, by `datetime`. It knows microseconds; the rest is cut off."""
    head, _, tail = text.upper().replace("Z", "+00:00").partition(".")
    digits = tail[:-6] if tail else ""
    whole = datetime.fromisoformat(head + (tail[-6:] if tail else ""))
    return (whole - EPOCH) // timedelta(milliseconds=1) + int((digits + "000")[:3])


def compare_all() -> int:
    """Holds the SDK for Python against the oracle: each zone, at each change and beside it."""
    sys.path.insert(0, str(HERE.parent / "python"))
    from portcullis_guest.calendar import zone as zone_of  # noqa: PLC0415

    count = wrong = 0
    for name in names():
        own, zone = zone_of(name), zoneinfo.ZoneInfo(name)
        assert own is not None, name
        for second, after in changes(name):
            before = offset(zone, second - 1)
            pairs = [(own.local(millis), local(name, millis)) for millis in (second * 1_000 - 1, second * 1_000)]
            for seconds in (second + before, second + after, second + (before + after) // 2, second + min(before, after) - 1, second + max(before, after)):
                time = datetime(1970, 1, 1) + timedelta(seconds=seconds)
                pairs.append((own.instant(time), instant(name, time)))
            shown = local(name, second * 1_000 - 1)
            if shown.hour in (0, 22, 23):
                pairs += [(own.start_of_day(day), start_of_day(name, day)) for day in (shown.date(), shown.date() + timedelta(1))]
            for found, expected in pairs:
                count += 1
                if found != expected:
                    wrong += 1
                    print(f"{name} at {second}: {found} instead of {expected}")
    print(f"{count} comparisons over {len(names())} names, {wrong} wrong")
    return 1 if wrong or count < 100_000 else 0


def main() -> int:
    lists = vectors()
    body = ",\n".join(f'"{name}":[\n' + ",\n".join(json.dumps(one, ensure_ascii=True, separators=(",", ":")) for one in cases) + "\n]" for name, cases in lists.items())
    text, file = "{" + body + "}\n", HERE / "vectors.json"
    if "--check" in sys.argv:
        if file.read_text() != text:
            print("error: vectors.json is not what vectors.py writes; run it", file=sys.stderr)
            return 1
    else:
        file.write_text(text)
        print(f"vectors.json: {len(text)} bytes, {sum(map(len, lists.values()))} cases")
    return compare_all() if "--all" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
