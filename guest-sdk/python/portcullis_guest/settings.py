"""Settings: sentences that say where they are wrong, each led by its path: `rules[3].at_least`."""

from __future__ import annotations

from typing import Any, Callable, Union

Shape = Union[type, list, dict, set, frozenset, Callable[[Any, str, "Problems"], bool]]

# How many problems are told one by one.
MOST = 50

_NAMES = {str: "string", bool: "boolean", int: "whole number", float: "number"}


class Problems:
    """Collects what is wrong with settings, so that an operator sees everything at once."""

    def __init__(self) -> None:
        self._sentences: list[str] = []
        self._further = 0

    def at(self, path: str, what: str) -> None:
        """Adds one: where it is and what is wrong there, such as `at("rules[3].b", "names no function")`."""
        if len(self._sentences) < MOST:
            self._sentences.append(f"settings: `{path}` {what}")
        else:
            self._further += 1

    @property
    def sentences(self) -> list[str]:
        """One sentence for each; a last one counts what is not told."""
        more = [f"settings: and {self._further} more problems"] if self._further else []
        return self._sentences + more

    def check(self, value: Any, shape: Shape, path: str = "") -> bool:
        """Holds a value against what it must be and adds what is wrong.

        `shape` is `str`, `bool`, `int`, `float`, `[shape]` for an array, `{"member": shape}` for an object with these members and no others
        (`"member?"` for one that may be absent), a set of strings for one of them, or a function of value, path and problems. True
        where nothing was wrong.
        """

        def wrong(what: str) -> bool:
            self.at(path or ".", what)
            return False

        if isinstance(shape, (set, frozenset)):
            return (isinstance(value, str) and value in shape) or wrong(f"is none of {', '.join(sorted(shape))}")
        if isinstance(shape, type):
            # In Python `True` is a number; in JSON it is not.
            right = isinstance(value, (int, float) if shape is float else shape) and isinstance(value, bool) == (shape is bool)
            return right or wrong(f"is no {_NAMES[shape]}")
        if isinstance(shape, list):
            if not isinstance(value, list):
                return wrong("is no array")
            return all([self.check(one, shape[0], f"{path}[{index}]") for index, one in enumerate(value)])
        if isinstance(shape, dict):
            if not isinstance(value, dict):
                return wrong("is no object")
            return self._members(value, shape, path)
        return shape(value, path, self)

    def _members(self, value: dict, shape: dict, path: str) -> bool:
        members = {name.removesuffix("?"): name for name in shape}
        inside = lambda name: f"{path}.{name}" if path else name
        right = True
        for name in value:
            if name not in members:
                self.at(inside(name), "is no setting")
                right = False
        for name, spelled in members.items():
            if name in value:
                right = self.check(value[name], shape[spelled], inside(name)) and right
            elif name == spelled:
                self.at(inside(name), "is missing")
                right = False
        return right
