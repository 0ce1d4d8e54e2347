"""The plugin natively: `python3 -m unittest`. `portcullis plugin test` tries the component itself with suite.toml."""

import sys
import unittest
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent / "portcullis/guest-sdk/python"))

from policy import Policy  # noqa: E402
from portcullis_guest import Effect, Target, change, verdict  # noqa: E402
from portcullis_guest.testing import call, configured, decide, refusal  # noqa: E402

SETTINGS = {"department": "pharmacy", "longest_seconds": 3600}


def sign_in():
    return call("okta.token").subject("u1").lifetime(Target.ACCESS_TOKEN, 7200)


def decided(builder):
    return decide(configured(Policy, SETTINGS), builder.build())


class Decisions(unittest.TestCase):
    def test_others_are_denied(self):
        self.assertEqual(verdict(decided(sign_in())), Effect.DENY)
        found = decided(sign_in().attribute("department", "kitchen")).findings
        self.assertEqual([one.code for one in found], ["OTHER_DEPARTMENT"])

    def test_long_tokens_are_shortened(self):
        inside = decided(sign_in().attribute("department", "pharmacy"))
        self.assertEqual(verdict(inside), Effect.ALLOW)
        self.assertEqual(inside.changes, [change.cap_lifetime(Target.ACCESS_TOKEN, 3600)])

    def test_wrong_settings_are_refused_by_path(self):
        problems = refusal(Policy, {"department": "", "longest_seconds": 300})
        self.assertEqual(problems, ["settings: `department` is empty: nobody would get in"])


if __name__ == "__main__":
    unittest.main()
