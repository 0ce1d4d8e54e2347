"""Takes away what would differ from one instance, host or moment to another.

Invariant: in the sandbox it is gone before the plugin's own code is loaded; in a plugin's tests `testing.sandboxed` takes it away for a
while. What cannot be taken away here (`datetime.now`, `os.urandom`) has nothing to draw on in the sandbox and fails there.
"""

from __future__ import annotations

import random
import sys
import time
from typing import Any

_CLOCKS = ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time", "localtime", "gmtime", "sleep")
_RANDOM = tuple(
    name for name in dir(random) if not name.startswith("_") and getattr(getattr(random, name), "__self__", None) is random._inst
)


def _gone(what: str, instead: str) -> Any:
    def gone(*_: Any, **__: Any) -> Any:
        raise TypeError(f"a plugin has no {what}: {instead}")

    return gone


def taken() -> list[tuple[Any, str, Any]]:
    """What there is to take: module, name, and what stands there instead. `gmtime` and `localtime` of a given moment are pure, but who
    forgets the moment gets the present one."""
    clock = _gone("clock", "use `call.received`")
    randomness = _gone("randomness", "use `random.Random(call.seed)`")
    return [(time, name, clock) for name in _CLOCKS] + [(random, name, randomness) for name in _RANDOM]


def purify() -> None:
    """Takes it away for good, in the sandbox."""
    if sys.platform == "wasi":
        for module, name, instead in taken():
            setattr(module, name, instead)
