#!/usr/bin/env python3
"""Writes the time-zone tables of the SDKs for JavaScript, Python and C.

    python3 -m pip install --target DIR -r requirements.txt
    PYTHONPATH=DIR python3 generate.py [--check]

Source: the compiled zones of the PyPI package `tzdata`, in the version of `requirements.txt`.
`--check` compares the tables in the checkout with fresh ones and writes nothing.

One line of a table is one set of rules: `NAMES|OFFSETS|CHANGES|RULE`.

- NAMES: the IANA names that share it, separated by spaces.
- OFFSETS: seconds east of UTC, separated by commas. The first is that of the beginning, 1969-12-31
  00:00 UTC.
- CHANGES: the listed changes of offset. Each is `DDDI`: three digits for the quarters of an hour
  since the change before (or since the beginning), and one for the index in OFFSETS. A distance
  that has no three digits is `~DDDDDDI`: six digits for seconds. Digits are those of base 64 in the
  order `0-9A-Za-z-_`.
- RULE: for the time from the last listed change on. One number is an offset for good. Ten numbers
  are the standard offset, the summer offset, and when summer begins and ends: month, week (5 is the
  last), weekday (0 is Sunday) and seconds after midnight, by the clock that is valid before. It is
  the last line of a compiled zone (RFC 9636, section 3.3), in numbers.

Invariant: the same input gives the same bytes, and each zone decodes to what was encoded. It does
not interpret the tables: `vectors.py` does, with the SDK for Python, against `zoneinfo`.
"""

from __future__ import annotations

import importlib.metadata
import re
import struct
import sys
from pathlib import Path
from typing import NamedTuple

import tzdata

HERE = Path(__file__).resolve().parent
PACKAGE = next(line.strip() for line in (HERE / "requirements.txt").read_text().splitlines() if line.startswith("tzdata=="))
VERSION = tzdata.IANA_VERSION
BEGINNING = -86_400
DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_"
QUARTER = 900
# Names in the package that are no places or offsets.
NO_ZONES = {"Factory"}


class Zone(NamedTuple):
    """The changes of offset since the beginning, and the rule after them."""

    first: int
    changes: tuple[tuple[int, int], ...]
    rule: tuple[int, ...]


def names() -> list[str]:
    """All names of zones in the package."""
    listed = (Path(tzdata.__file__).parent / "zones").read_text().split()
    return sorted(set(listed) - NO_ZONES)


def read(name: str) -> Zone:
    """A zone from its compiled file (RFC 9636): the block with 64 bits, and the rule behind it. The
    package leaves out the changes that follow from the rule."""
    data = (Path(tzdata.__file__).parent / "zoneinfo" / name).read_bytes()

    def header(at: int) -> tuple[int, ...]:
        assert data[at : at + 4] == b"TZif" and data[at + 4 : at + 5] >= b"2", name
        return struct.unpack(">6l", data[at + 20 : at + 44])

    isut, isstd, leap, times, types, letters = header(0)
    at = 44 + times * 5 + types * 6 + letters + leap * 8 + isstd + isut
    isut, isstd, leap, times, types, letters = header(at)
    assert leap == 0, name
    at += 44
    moments = struct.unpack(f">{times}q", data[at : at + times * 8])
    at += times * 8
    kinds = data[at : at + times]
    at += times
    offsets = [struct.unpack(">l", data[at + 6 * kind : at + 6 * kind + 4])[0] for kind in range(types)]
    at += types * 6 + letters + isstd + isut
    rule = posix(data[at:].decode().strip())

    first, changes = offsets[0], []
    for moment, kind in zip(moments, kinds):
        offset = offsets[kind]
        # The last one tells from when on the rule is valid, even where it changes no offset.
        marks = moment == moments[-1] and len(rule) > 1
        if moment <= BEGINNING:
            first = offset
        elif marks or offset != (changes[-1][1] if changes else first):
            changes.append((moment, offset))
    return Zone(first, tuple(changes), rule)


def posix(text: str) -> tuple[int, ...]:
    """A rule such as `CET-1CEST,M3.5.0,M10.5.0/3` in numbers."""
    clock = r"([+-]?\d+)(?::(\d+))?(?::(\d+))?"
    abbreviation = r"(?:[A-Za-z]{3,}|<[A-Za-z0-9+-]+>)"
    day = r"M(\d+)\.(\d)\.(\d)(?:/" + clock + ")?"
    match = re.fullmatch(f"{abbreviation}{clock}(?:{abbreviation}(?:{clock})?,{day},{day})?", text)
    assert match, text
    found = match.groups()

    def seconds(part: tuple[str | None, ...], absent: int) -> int:
        hours, minutes, rest = part
        if hours is None:
            return absent
        size = abs(int(hours)) * 3600 + int(minutes or 0) * 60 + int(rest or 0)
        return -size if hours.startswith("-") else size

    standard = -seconds(found[0:3], 0)
    if found[6] is None:
        return (standard,)
    summer = -seconds(found[3:6], -standard - 3600)
    days = [(*map(int, found[at : at + 3]), seconds(found[at + 3 : at + 6], 7200)) for at in (6, 12)]
    return (standard, summer, *days[0], *days[1])


def encoded(zone: Zone) -> str:
    """A zone as a line of the table, without its names."""
    offsets = list(dict.fromkeys([zone.first, *(offset for _, offset in zone.changes)]))
    assert len(offsets) <= len(DIGITS)
    text, before = "", BEGINNING
    for moment, offset in zone.changes:
        distance = moment - before
        if distance % QUARTER == 0 and distance // QUARTER < 64**3:
            text += digits(distance // QUARTER, 3)
        else:
            text += "~" + digits(distance, 6)
        text += DIGITS[offsets.index(offset)]
        before = moment
    return "|".join([",".join(map(str, offsets)), text, ",".join(map(str, zone.rule))])


def digits(number: int, count: int) -> str:
    """A number in base 64, the highest digit first."""
    assert 0 <= number < 64**count
    return "".join(DIGITS[number >> (6 * place) & 63] for place in reversed(range(count)))


def table() -> list[str]:
    """All lines, in the order of their first names."""
    shared: dict[str, list[str]] = {}
    for name in names():
        shared.setdefault(encoded(read(name)), []).append(name)
    return [f"{' '.join(alike)}|{line}" for line, alike in shared.items()]


def files() -> dict[str, str]:
    """The files of the SDKs by their paths in `guest-sdk/`."""
    lines = table()
    about = [
        f"The IANA time zones, version {VERSION}, from 1970 on; `calendar` reads them.",
        "",
        f"Written by guest-sdk/calendar/generate.py (which describes the form) from {PACKAGE}: do not edit.",
    ]
    javascript = "".join(f"// {line}".rstrip() + "\n" for line in about)
    javascript += f"\nexport const TZDB = '{VERSION}';\n\nexport const ZONES = [\n"
    javascript += "".join(f"  '{line}',\n" for line in lines) + "];\n"
    python = '"""' + "\n".join(about) + f'\n"""\n\nTZDB = "{VERSION}"\n\nZONES = (\n'
    python += "".join(f'    "{line}",\n' for line in lines) + ")\n"
    c = "/* " + "\n * ".join(about).replace(" * \n", " *\n") + "\n */\n"
    c += f'#include "zones.h"\n\nconst char pc_tzdb[] = "{VERSION}";\n\nconst char *const pc_zones[] = {{\n'
    c += "".join(f'    "{line}",\n' for line in lines) + "    NULL,\n};\n"
    return {
        "javascript/src/zones.js": javascript,
        "python/portcullis_guest/zones.py": python,
        "c/src/zones.c": c,
    }


def main() -> int:
    installed = f"tzdata=={importlib.metadata.version('tzdata')}"
    if installed != PACKAGE:
        print(f"error: {installed} is installed, {PACKAGE} is needed", file=sys.stderr)
        return 1
    stale = 0
    for path, text in files().items():
        file = HERE.parent / path
        if "--check" not in sys.argv:
            file.write_text(text)
            print(f"{path}: {len(text)} bytes")
        elif not file.is_file() or file.read_text() != text:
            print(f"error: {path} is not what generate.py writes; run it", file=sys.stderr)
            stale = 1
    return stale


if __name__ == "__main__":
    sys.exit(main())
