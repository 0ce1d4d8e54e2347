"""Only people of one department get a token, and no long one.

A template: replace it with your own policy.
"""

from portcullis_guest import Decision, Effect, Plugin, Problems, Severity, change, decision, export, finding, text_of

# What the operator decides. The manifest's settings.schema.json says the same to people and editors.
SETTINGS = {"department": str, "longest_seconds": int}


class Policy(Plugin):
    def configure(self, settings, problems: Problems) -> None:
        """Once, when a release is activated. What it leaves in `self` is kept in a snapshot, and every call begins with it."""
        if problems.check(settings, SETTINGS) and not settings["department"]:
            problems.at("department", "is empty: nobody would get in")
        self.settings = settings

    def evaluate(self, call) -> Decision:
        """Once a call, in an instance of its own. What it raises is its failure; a refusal is a finding with `Effect.DENY`."""
        department, longest = self.settings["department"], self.settings["longest_seconds"]
        if text_of(call.subject, "department") != department:
            return decision([finding("OTHER_DEPARTMENT", Effect.DENY, Severity.MEDIUM, department=department)])
        too_long = [lifetime for lifetime in call.lifetimes if lifetime.seconds > longest]
        caps = [change.cap_lifetime(lifetime.target, max(longest, lifetime.least)) for lifetime in too_long]
        return decision([finding("RIGHT_DEPARTMENT", Effect.ALLOW)], caps)


WitWorld = export(Policy)
