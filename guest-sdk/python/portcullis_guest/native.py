"""Tables and memory for a plugin's own tests, which fill them.

Invariant: a plugin sees what the host would give it, apart from errors of counting: counts are
exact here, and a host may count a little too long. Time and subject are the call's. Where the host
would end a call, a function raises. Never loaded in the sandbox.
"""

from __future__ import annotations

import ipaddress
import json
from typing import Any, Optional

from wit_world.imports import types
from wit_world.imports.memory import Scope
from wit_world.imports.reference import Row, SubjectMatch, SubjectRows, TableRows


class World:
    """Tables and memory of a test."""

    def __init__(self) -> None:
        self.now = 0
        self.subject: Optional[str] = None
        self.tables: dict[str, tuple[list[dict[str, Any]], bool]] = {}
        self.values: dict[tuple[Any, str], tuple[int, bytes]] = {}
        self.counters: dict[tuple[Any, str, bool], list[tuple[int, str]]] = {}
        self.notes: list[str] = []

    def table(self, name: str) -> tuple[list[dict[str, Any]], bool]:
        if name not in self.tables:
            raise KeyError(f"there is no table `{name}` in this test")
        return self.tables[name]

    def lookup(self, table: str, key: str) -> TableRows:
        rows, stale = self.table(table)
        fits = [_fit(row["key"], key) for row in rows]
        found = [_lowered(row) for row, fit in zip(rows, fits) if fit >= 0 and fit == max(fits)]
        return TableRows(found, "test", stale)

    def lookup_subject(self, table: str) -> SubjectRows:
        rows, stale = self.table(table)
        own = [_lowered(row) for row in rows if self.subject is not None and row.get("subject") == self.subject]
        return SubjectRows(SubjectMatch.ONE if own else SubjectMatch.NONE, own, "test", stale)

    def recall(self, scope: Scope, key: str) -> Optional[bytes]:
        until, value = self.values.get(self.place(scope, key), (0, b""))
        return value if self.now < until else None

    def remember(self, scope: Scope, key: str, value: bytes, ttl_seconds: int) -> None:
        if len(value) > 4_096:
            raise ValueError("a value has at most 4,096 bytes")
        self.values[self.place(scope, key)] = (self.now + ttl_seconds * 1_000, bytes(value))

    def forget(self, scope: Scope, key: str) -> None:
        self.values.pop(self.place(scope, key), None)

    def count(self, scope: Scope, key: str, window_seconds: int) -> int:
        return self.counted(scope, key, window_seconds, False, None)

    def tally(self, scope: Scope, key: str, window_seconds: int) -> int:
        return self.counted(scope, key, window_seconds, False, "")

    def count_distinct(self, scope: Scope, key: str, window_seconds: int) -> int:
        return self.counted(scope, key, window_seconds, True, None)

    def tally_distinct(self, scope: Scope, key: str, member: str, window_seconds: int) -> int:
        return self.counted(scope, key, window_seconds, True, member)

    def counted(self, scope: Scope, key: str, window: int, distinct: bool, member: Optional[str]) -> int:
        added = self.counters.setdefault((*self.place(scope, key), distinct), [])
        if member is not None:
            added.append((self.now, member))
        within = [one for then, one in added if then <= self.now and self.now - then < window * 1_000]
        return len(set(within)) if distinct else len(within)

    def place(self, scope: Scope, key: str) -> tuple[Any, str]:
        if not 1 <= len(key.encode()) <= 256:
            raise ValueError("a key has 1 to 256 bytes")
        if scope is Scope.SHARED:
            return None, key
        if self.subject is None:
            raise ValueError("the call has no subject to remember")
        return (self.subject,), key

    def note(self, message: str) -> None:
        self.notes.append(message)


def _lowered(row: dict[str, Any]) -> Row:
    return Row([types.Attribute(name, json.dumps(value)) for name, value in row["columns"].items()])


def _fit(known: str, key: str) -> int:
    """How well a row's key fits: below 0 where it does not, else the length of the prefix."""
    if "/" not in known:
        return 0 if known == key else -1
    network = ipaddress.ip_network(known)
    try:
        return network.prefixlen if ipaddress.ip_address(key) in network else -1
    except ValueError:
        return -1


world = World()
"""The world of the tests that run."""
