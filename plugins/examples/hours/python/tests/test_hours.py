"""Some of the decision, natively. All of it is in `../../suite.toml`, which runs on the component."""

import sys
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE / "../../../../../guest-sdk/python")]

from hours import Hours  # noqa: E402
from portcullis_guest import Effect, Target, change, verdict  # noqa: E402
from portcullis_guest.testing import call, configured, decide, refusal  # noqa: E402

SETTINGS = (HERE / "../../settings.example.json").read_text()


def decided(received, department="pharmacy"):
    sign_in = call("okta.token").subject("u1").attribute("status", "active").lifetime(Target.ACCESS_TOKEN, 3600)
    return decide(configured(Hours, SETTINGS), sign_in.attribute("department", department).received(received).build())


class Decisions(unittest.TestCase):
    def test_inside_the_hours_a_token_ends_with_the_shift(self):
        inside = decided("2026-11-25T21:30:00Z")
        self.assertEqual(verdict(inside), Effect.ALLOW)
        self.assertEqual(inside.changes, [change.cap_lifetime(Target.ACCESS_TOKEN, 1800)])

    def test_outside_them_nobody_gets_one(self):
        self.assertEqual([found.code for found in decided("2026-11-25T22:00:00Z").findings], ["HOURS_OUTSIDE"])

    def test_wrong_settings_are_refused_by_path(self):
        wrong = {"terminated": ["left"], "departments": [{"name": "a", "from": "24:00", "until": "06:00"}]}
        self.assertEqual(refusal(Hours, wrong), ["settings: `departments[0].from` is no time of day such as `07:30`"])


if __name__ == "__main__":
    unittest.main()
