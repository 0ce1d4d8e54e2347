"""Dates, zones, shifts and holidays: the vectors that all SDKs share, and that the tables are the generator's."""

import json
import os
import subprocess
import sys
import unittest
from datetime import date, datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(HERE))

from portcullis_guest import Problems  # noqa: E402
from portcullis_guest.calendar import (  # noqa: E402
    TZDB,
    Holidays,
    add_days,
    add_months,
    holiday_in_table,
    parse_date,
    parse_instant,
    shift,
    zone,
)
from portcullis_guest.testing import reset, set_table  # noqa: E402

CALENDAR = HERE.parent / "calendar"
VECTORS = json.loads((CALENDAR / "vectors.json").read_text())


def spelled(day):
    return None if day is None else day.isoformat()


class Calendar(unittest.TestCase):
    def cases(self, name, least):
        """The vectors of a name, with the zone in place of its name."""
        self.assertGreaterEqual(len(VECTORS[name]), least)
        zones = {}
        for first, *rest in VECTORS[name]:
            if first not in zones:
                zones[first] = zone(first)
            yield zones[first], rest

    def test_dates_are_read_and_computed_with(self):
        for text, weekday, days, later, months, moved in VECTORS["dates"]:
            day = parse_date(text)
            self.assertEqual((day.isoformat(), day.isoweekday()), (text, weekday))
            self.assertEqual(spelled(add_days(day, days)), later, (text, days))
            self.assertEqual(spelled(add_months(day, months)), moved, (text, months))
        for text in [*VECTORS["refused_dates"], None, 20261130, ["2026-11-30"]]:
            self.assertIsNone(parse_date(text), text)
        self.assertIsNone(add_days(date(2026, 1, 1), 10**12))
        self.assertEqual(add_months(datetime(2024, 1, 31, 7, 30), 1), datetime(2024, 2, 29, 7, 30))

    def test_instants_are_read(self):
        for text, millis in VECTORS["instants"]:
            self.assertEqual(parse_instant(text), millis, text)
        for text in [*VECTORS["refused_instants"], None, 0]:
            self.assertIsNone(parse_instant(text), text)

    def test_every_zone_of_the_database_is_there(self):
        self.assertEqual([TZDB], VECTORS["tzdb"])
        self.assertEqual([name for name, _ in VECTORS["zones"]], VECTORS["names"][0].split(" "))
        for name, total in VECTORS["zones"]:
            found, state, own = zone(name), 1, 0
            for _ in range(500):
                state = state * 16_807 % 2_147_483_647
                second = 86_400 + state * 2 % 4_133_894_400
                local = found.local(second * 1_000) - datetime(1970, 1, 1)
                own = (own * 31 + local.days * 86_400 + local.seconds - second + 86_400) % 1_000_003
            self.assertEqual(own, total, name)
        for name in [*VECTORS["refused_zones"], None, 1]:
            self.assertIsNone(zone(name), name)

    def test_every_change_of_the_chosen_zones(self):
        for found, numbers in self.cases("changes", 20):
            for second, after in zip(numbers[::2], numbers[1::2]):
                offsets = [(found.local((second + at) * 1_000) - datetime(1970, 1, 1)).total_seconds() - second - at for at in (-1, 0)]
                self.assertEqual(offsets[1], after, (found.name, second))
                self.assertNotEqual(offsets[0], after, (found.name, second))

    def test_instants_and_local_times(self):
        for found, (millis, local) in self.cases("locals", 200):
            self.assertEqual(found.local(millis), datetime.fromisoformat(local), (found.name, millis))
        for found, (local, millis) in self.cases("to_instants", 200):
            self.assertEqual(found.instant(datetime.fromisoformat(local)), millis, (found.name, local))
        for found, (millis,) in self.cases("outside", 4):
            self.assertIsNone(found.local(millis), (found.name, millis))
        for found, (millis, local) in self.cases("inside", 2):
            self.assertEqual(found.local(millis), datetime.fromisoformat(local))
        before = datetime(1969, 12, 31, 23, 59)
        self.assertEqual([zone("UTC").instant(before), zone("UTC").start_of_day(before), zone("UTC").end_of_day(before)], [None] * 3)

    def test_days_begin_and_end(self):
        for name, least in (("days", 200), ("last_days", 2)):
            for found, (day, start, end) in self.cases(name, least):
                day = date.fromisoformat(day)
                self.assertEqual((found.start_of_day(day), found.end_of_day(day)), (start, end), (found.name, day))

    def test_shifts_go_over_midnight_and_changes_of_clocks(self):
        for found, (millis, begin, end, day) in self.cases("shifts", 200):
            self.assertEqual(spelled(found.shift_day(millis, shift(begin, end))), day, (found.name, millis, begin, end))
        for begin, end in [*VECTORS["refused_shifts"], (None, "06:00"), ("06:00", 7)]:
            self.assertIsNone(shift(begin, end), (begin, end))
        self.assertIsNone(zone("UTC").shift_day(-1, shift("00:00", "24:00")))

    def test_holidays_stand_in_settings_or_in_a_table(self):
        problems = Problems()
        holidays = Holidays(["2026-04-03", "12-25", "02-29", "2026-02-29", "1-1", "13-01", 7], problems)
        days = {"2026-04-03": True, "2027-04-03": False, "2030-12-25": True, "2028-02-29": True, "2026-02-28": False}
        for day, known in days.items():
            self.assertEqual(date.fromisoformat(day) in holidays, known, day)
        self.assertIn(datetime(2026, 12, 25, 8), holidays)
        wrong = "is no day, such as `2026-12-25`, or `12-25` for every year"
        self.assertEqual(problems.sentences, [f"settings: `holidays[{index}]` {wrong}" for index in (3, 4, 5, 6)])
        problems = Problems()
        Holidays("2026-04-03", problems, "closed.days")
        self.assertEqual(problems.sentences, ["settings: `closed.days` is no array"])
        set_table("closed", [{"key": "2026-04-03", "columns": {"name": "Good Friday"}}])
        self.assertTrue(holiday_in_table("closed", date(2026, 4, 3)))
        self.assertFalse(holiday_in_table("closed", date(2026, 4, 4)))
        reset()

    @unittest.skipUnless(os.environ.get("PORTCULLIS_PYTHON_TOOLS"), "the package tzdata is not there")
    def test_tables_and_vectors_are_those_of_their_generators(self):
        environment = {**os.environ, "PYTHONPATH": os.environ["PORTCULLIS_PYTHON_TOOLS"]}
        for program in ("generate.py", "vectors.py"):
            command = [sys.executable, "-B", str(CALENDAR / program), "--check"]
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)


if __name__ == "__main__":
    unittest.main()
