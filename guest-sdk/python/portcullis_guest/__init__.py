"""What a plugin author needs to write a Portcullis plugin in Python.

A plugin is a class with two methods, made into the component's exports by `export`:

    from portcullis_guest import Decision, Effect, Plugin, Problems, decision, export, finding

    class MyPlugin(Plugin):
        def configure(self, settings, problems: Problems) -> None: ...     # once, when a release is activated
        def evaluate(self, call) -> Decision: ...                          # once a call, in an instance of its own

    WitWorld = export(MyPlugin)

Invariant: both must be pure. The same settings and the same call give the same decision: a plugin has no clock but `call.received` and
no randomness but `call.seed`.
"""

from __future__ import annotations

import json
import sys
from typing import Any, Callable, Iterable, Optional

if sys.platform != "wasi":
    # A plugin's own tests: the bindings that the build generates anew lie beside this package.
    from pathlib import Path

    sys.path.append(str(Path(__file__).resolve().parent.parent / "bindings"))

from componentize_py_types import Err
from wit_world.imports import types
from wit_world.imports.types import (
    Attribute,
    Call,
    Change,
    Credential,
    Decision,
    Effect,
    Entity,
    Finding,
    GrantKind,
    Lifetime,
    Origin,
    Principal,
    PrincipalKind,
    Severity,
    Target,
)

from . import change, pure
from .host import (
    Row,
    Scope,
    SubjectMatch,
    SubjectRows,
    TableRows,
    column,
    count,
    count_distinct,
    forget,
    lookup,
    lookup_subject,
    note,
    recall,
    remember,
    tally,
    tally_distinct,
)
from .settings import Problems

__all__ = [
    "Attribute", "Call", "Change", "Credential", "Decision", "Effect", "Entity", "Finding", "GrantKind", "Lifetime", "Origin",
    "Plugin", "Principal", "PrincipalKind", "Problems", "Row", "Scope", "Severity", "SubjectMatch", "SubjectRows", "TableRows",
    "Target", "attribute", "change", "column", "count", "count_distinct", "decision", "export", "export_search", "finding",
    "forget", "lookup", "lookup_subject", "lower", "note", "recall", "remember", "tally", "tally_distinct", "text", "text_of",
    "verdict",
]

pure.purify()


class Plugin:
    """A policy: settings in, decisions out."""

    def configure(self, settings: Any, problems: Problems) -> None:
        """Makes the plugin ready: once, before the host takes its snapshot. Whatever is prepared here costs nothing at call time."""

    def evaluate(self, call: Call) -> Decision:
        """Decides one call. What it raises is its failure, and the hook gives its safe answer; a refusal is a finding with `DENY`."""
        raise NotImplementedError


def export(plugin: Callable[[], Plugin]) -> type:
    """The class that a plugin's module must have under the name `WitWorld`."""
    return _worlds(plugin)[0]


def export_search(plugin: Callable[[], Any]) -> tuple[type, type]:
    """The same for one that is asked "which ones?" and has a method `find(call, page)`: the classes `WitWorld` and `Search`."""
    return _worlds(plugin)


def _worlds(make: Callable[[], Any]) -> tuple[type, type]:
    configured: list[Any] = []

    def ask(question: Callable[[Any], Any]) -> Any:
        if not configured:
            raise Err("the plugin was not configured")
        try:
            return question(configured[0])
        except Exception as error:  # what a plugin raises is its failure, told in words and not as a trap
            raise Err(_describe(error)) from None

    class World:
        def configure(self, settings: str) -> None:
            if configured:
                raise Err(["settings: the plugin is configured already"])
            problems, plugin = Problems(), make()
            try:
                plugin.configure(json.loads(settings), problems)
            except Exception as error:
                raise Err([f"settings: {_describe(error)}"]) from None
            if problems.sentences:
                raise Err(problems.sentences)
            configured.append(plugin)

        def evaluate(self, call: Call) -> Decision:
            return ask(lambda plugin: plugin.evaluate(call))

    class Search:
        def find(self, call: Call, page: Any) -> Any:
            return ask(lambda plugin: plugin.find(call, page))

    return World, Search


def _describe(error: Exception) -> str:
    return error.value if isinstance(error, Err) and isinstance(error.value, str) else f"{type(error).__name__}: {error}"


def text(value: Optional[str]) -> Optional[str]:
    """The string that JSON text holds; None when it is anything else, or absent."""
    if value is None:
        return None
    try:
        found = json.loads(value)
        if isinstance(found, str):
            found.encode()  # half a surrogate pair is no text
            return found
    except ValueError:
        pass
    return None


def _json_of(who: Optional[Principal | Entity], name: str) -> Optional[str]:
    if who is None:
        return None
    return next((attribute.value for attribute in who.attributes if attribute.name == name), None)


def attribute(who: Optional[Principal | Entity], name: str) -> Any:
    """The value of an attribute; None when it is absent, null, or there is nobody."""
    value = _json_of(who, name)
    return None if value is None else json.loads(value)


def text_of(who: Optional[Principal | Entity], name: str) -> Optional[str]:
    """The attribute if it is a string."""
    return text(_json_of(who, name))


def lower(value: str) -> str:
    """ASCII letters only, small: what they mean is the same in every language."""
    return value.translate(_SMALL)


_SMALL = {letter: letter + 32 for letter in range(ord("A"), ord("Z") + 1)}


def finding(code: str, effect: Effect, severity: Severity = Severity.INFO, *, field: Optional[str] = None, **arguments: Any) -> Finding:
    """A finding; `arguments` fill its message in the manifest's catalogue. A name that Python keeps for itself takes a final underscore:
    `from_="06:00"`."""
    filled = [Attribute(name.rstrip("_"), _spell(value)) for name, value in arguments.items()]
    return Finding(code, effect, severity, filled, field)


def decision(findings: Iterable[Finding] = (), changes: Iterable[Change] = (), risk: Optional[int] = None) -> Decision:
    """A decision. Nothing of all that: the plugin abstains."""
    return Decision(list(findings), list(changes), risk)


def verdict(decided: Decision) -> Effect:
    """The strictest effect among the findings: the verdict that the host derives."""
    return max((found.effect for found in decided.findings), key=lambda effect: effect.value, default=Effect.ABSTAIN)


def _spell(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
