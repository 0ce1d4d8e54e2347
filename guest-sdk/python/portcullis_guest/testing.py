"""Calls and helpers for a plugin's own tests, natively, with no WebAssembly at all: `python3 -m unittest`."""

from __future__ import annotations

import contextlib
import json
from datetime import datetime
from typing import Any, Iterator, Optional, Union

from . import Call, Decision, Err, GrantKind, Lifetime, Plugin, Principal, PrincipalKind, Target, export, pure, types
from .native import world as _world


def set_table(name: str, rows: list[dict[str, Any]], stale: bool = False) -> None:
    """Gives the plugins of this test a table, in the place of an earlier one of that name: rows
    such as `{"key": "4711", "subject": "u1", "columns": {"department": "pharmacy"}}`. A key such as
    `10.0.0.0/8` is a network."""
    _world.tables[name] = (rows, stale)


def reset() -> None:
    """Takes away all tables, memory and notes."""
    _world.__init__()


def enter(call: Call) -> None:
    """Makes what follows part of this call: its time and its subject. `decide` does so."""
    _world.now = call.received
    _world.subject = call.subject.id if call.subject is not None else None


def notes() -> list[str]:
    """The notes since the last time a test asked."""
    taken, _world.notes = _world.notes, []
    return taken


def configured(plugin: type[Plugin], settings: Any) -> Any:
    """A plugin configured with these settings (a value, or JSON text). Raises what is wrong with them."""
    world = export(plugin)()
    world.configure(settings if isinstance(settings, str) else json.dumps(settings))
    return world


def refusal(plugin: type[Plugin], settings: Any) -> Optional[list[str]]:
    """What a plugin says is wrong with these settings; None where nothing is."""
    try:
        configured(plugin, settings)
    except Err as error:
        return error.value
    return None


@contextlib.contextmanager
def sandboxed() -> Iterator[None]:
    """Without clock and randomness, as the sandbox is."""
    taken = [(module, name, getattr(module, name), instead) for module, name, instead in pure.taken()]
    for module, name, _, instead in taken:
        setattr(module, name, instead)
    try:
        yield
    finally:
        for module, name, before, _ in taken:
            setattr(module, name, before)


def decide(world: Any, call: Call) -> Decision:
    """What a configured plugin decides. Raises what it failed with."""
    enter(call)
    with sandboxed():
        return world.evaluate(call)


class CallBuilder:
    """A call in the making."""

    def __init__(self, hook: str) -> None:
        self._call = Call(
            id="event", correlation=None, tenant="default", hook=hook, phase=None, received=1_700_000_000_000, seed=1, subject=None,
            actors=[], action=None, resource=None, requested=[], lifetimes=[], origin=None, purpose=None, proposed=[], payload="null",
        )  # fmt: skip

    def build(self) -> Call:
        return self._call

    def received(self, when: Union[int, str]) -> CallBuilder:
        """When the host received it: milliseconds since the Unix epoch, or text such as `2026-11-25T10:00:00Z`."""
        if isinstance(when, str):
            when = round(datetime.fromisoformat(when.replace("Z", "+00:00")).timestamp() * 1_000)
        self._call.received = when
        return self

    def subject(self, id: str) -> CallBuilder:
        """Who: a person with this id."""
        self._person().id = id
        return self

    def attribute(self, name: str, value: Any) -> CallBuilder:
        """One attribute of the subject; anything that JSON can say."""
        self._person().attributes.append(types.Attribute(name, json.dumps(value)))
        return self

    def entitlement(self, entitlement: str) -> CallBuilder:
        """One thing the subject holds already."""
        self._person().entitlements.append(entitlement)
        return self

    def requested(self, kind: GrantKind, id: str) -> CallBuilder:
        """One thing that would be granted."""
        self._call.requested.append(types.Grant(kind, id))
        return self

    def lifetime(self, target: Target, seconds: int, least: int = 300, most: int = 86_400) -> CallBuilder:
        """What can be shortened, and within which bounds: those of an Okta token unless others are given. Seconds."""
        self._call.lifetimes.append(Lifetime(target, seconds, least, most))
        return self

    def payload(self, value: Any) -> CallBuilder:
        """The hook's body, cut down to what the manifest reads."""
        self._call.payload = json.dumps(value)
        return self

    def _person(self) -> Principal:
        if self._call.subject is None:
            self._call.subject = Principal(PrincipalKind.PERSON, "user", None, [], [])
        return self._call.subject


def call(hook: str) -> CallBuilder:
    """A call of this hook kind: `call("okta.token").subject("u1").attribute("department", "pharmacy").build()`."""
    return CallBuilder(hook)
