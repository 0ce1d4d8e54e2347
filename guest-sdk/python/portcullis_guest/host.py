"""What a plugin may ask its host for: rows of reference tables, its memory, and notes.

Invariant: in the sandbox these are the contract's own functions; in a plugin's tests those of
`native`. A plugin may use what its manifest requests; a call that uses more ends.
"""

from __future__ import annotations

import json
import sys
from typing import Any, Optional

# What a plugin imports must be loaded when it is built: in the sandbox there are no files.
from wit_world.imports import journal as _journal
from wit_world.imports import memory as _memory
from wit_world.imports import reference as _reference
from wit_world.imports.memory import Scope
from wit_world.imports.reference import Row, SubjectMatch, SubjectRows, TableRows

if sys.platform != "wasi":
    from .native import world as _native

    _journal = _memory = _reference = _native

__all__ = [
    "Row", "Scope", "SubjectMatch", "SubjectRows", "TableRows", "column", "count", "count_distinct", "forget", "lookup",
    "lookup_subject", "note", "recall", "remember", "tally", "tally_distinct",
]


def lookup(table: str, key: str) -> TableRows:
    """All rows of a key, in the order of the table. Needs the capability `reference`."""
    return _reference.lookup(table, key)


def lookup_subject(table: str) -> SubjectRows:
    """The rows of the call's subject. Needs the capability `reference`."""
    return _reference.lookup_subject(table)


def column(row: Row, name: str) -> Any:
    """A column's value; None where the cell is empty, or the manifest does not read the column."""
    return next((json.loads(column.value) for column in row.columns if column.name == name), None)


def recall(scope: Scope, key: str) -> Optional[bytes]:
    """The value of a key; None where there is none, or where its time is over. Needs the capability
    `memory`, as all of the following."""
    return _memory.recall(scope, key)


def remember(scope: Scope, key: str, value: bytes, ttl_seconds: int) -> None:
    """Sets the value of a key."""
    _memory.remember(scope, key, value, ttl_seconds)


def forget(scope: Scope, key: str) -> None:
    """Removes the value of a key. Its counters run out by themselves."""
    _memory.forget(scope, key)


def count(scope: Scope, key: str, window_seconds: int) -> int:
    """How many were added to a counter within the last seconds."""
    return _memory.count(scope, key, window_seconds)


def tally(scope: Scope, key: str, window_seconds: int) -> int:
    """Adds one to a counter, whatever comes of the call, and counts."""
    return _memory.tally(scope, key, window_seconds)


def count_distinct(scope: Scope, key: str, window_seconds: int) -> int:
    """How many different members were added within the last seconds."""
    return _memory.count_distinct(scope, key, window_seconds)


def tally_distinct(scope: Scope, key: str, member: str, window_seconds: int) -> int:
    """Adds a member, whatever comes of the call, and counts the different ones."""
    return _memory.tally_distinct(scope, key, member, window_seconds)


def note(message: str) -> None:
    """Writes to the sealed part of the record. Needs the capability `journal`."""
    _journal.note(message)
