"""Working hours and leavers: who may sign in when, and until when. The same decision as in the folders beside this one.

Invariants:
- Whoever has left, or of whom that is not known, gets no token.
- No token outlives the shift that it was asked for in.
- The clock is the call's. Hours are UTC, so that an answer means the same everywhere, for good.
"""

import re
from dataclasses import dataclass

from portcullis_guest import Decision, Effect, Plugin, Problems, Severity, change, decision, export, finding, lower, text_of

MINUTE = 60_000
DAY = 24 * 60
TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])", re.ASCII)
EFFECTS = {"abstain": Effect.ABSTAIN, "step-up": Effect.STEP_UP, "review": Effect.REVIEW, "deny": Effect.DENY}
SHAPE = {
    "terminated": [str],
    "departments": [{"name": str, "from": str, "until": str, "outside?": {"step-up", "review", "deny"}}],
    "unlisted?": set(EFFECTS),
}


@dataclass
class Shift:
    """One department's hours, in minutes of the day."""

    department: str
    start: int
    end: int
    outside: Effect

    def left(self, received: int) -> int:
        """The seconds that are left of the shift; none or less outside it."""
        day = DAY * 60
        length = (self.end - self.start) * 60 % day
        gone = (received // 1_000 - self.start * 60) % day
        return length - gone


class Hours(Plugin):
    def configure(self, settings, problems: Problems) -> None:
        if not problems.check(settings, SHAPE):
            return
        if not settings["terminated"]:
            problems.at("terminated", "is empty: nobody would ever have left")
        if not settings["departments"]:
            problems.at("departments", "is empty: nobody would work here")
        self.terminated = {lower(status) for status in settings["terminated"]}
        self.unlisted = EFFECTS[settings.get("unlisted", "deny")]
        self.shifts: dict[str, Shift] = {}
        for index, department in enumerate(settings["departments"]):
            name, times = department["name"], []
            for member in ("from", "until"):
                found = TIME.fullmatch(department[member])
                if found is None:
                    problems.at(f"departments[{index}].{member}", "is no time of day such as `07:30`")
                    found = TIME.fullmatch("00:00")
                times.append(int(found[1]) * 60 + int(found[2]))
            if department["from"] == department["until"]:
                problems.at(f"departments[{index}].until", "is the same as `from`")
            if name in self.shifts:
                problems.at(f"departments[{index}].name", "stands there twice")
            self.shifts.setdefault(name, Shift(name, *times, EFFECTS[department.get("outside", "deny")]))

    def evaluate(self, call) -> Decision:
        status = text_of(call.subject, "status")
        if status is None:
            return decision([finding("HOURS_STATUS_MISSING", Effect.DENY, Severity.HIGH)])
        if lower(status) in self.terminated:
            return decision([finding("HOURS_TERMINATED", Effect.DENY, Severity.CRITICAL, status=status)])
        shift = self.shifts.get(text_of(call.subject, "department"))
        if shift is None:
            if self.unlisted is Effect.ABSTAIN:
                return decision()
            return decision([finding("HOURS_NO_DEPARTMENT", self.unlisted, Severity.MEDIUM)])
        name = {"department": shift.department, "from_": clock(shift.start), "until": clock(shift.end)}
        left = shift.left(call.received)
        if left <= 0:
            now = clock(call.received // MINUTE % DAY)
            return decision([finding("HOURS_OUTSIDE", shift.outside, Severity.MEDIUM, **name, now=now)])
        too_long = [lifetime for lifetime in call.lifetimes if lifetime.seconds > left]
        if any(left < lifetime.least for lifetime in too_long):
            return decision([finding("HOURS_ENDING", Effect.DENY, Severity.LOW, **name, seconds=left)])
        inside = finding("HOURS_INSIDE", Effect.ALLOW, **name)
        return decision([inside], [change.cap_lifetime(lifetime.target, left) for lifetime in too_long])


def clock(minutes: int) -> str:
    """Minutes since midnight as `HH:MM`."""
    return f"{minutes // 60:02}:{minutes % 60:02}"


WitWorld = export(Hours)
