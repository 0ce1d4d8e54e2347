"""The SDK itself: what it takes away, how it reads, how it says what is wrong; and that its bindings are the contract's."""

import filecmp
import os
import random
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(HERE))

from portcullis_guest import (  # noqa: E402
    Decision,
    Effect,
    Err,
    Plugin,
    Problems,
    Scope,
    SubjectMatch,
    attribute,
    column,
    count,
    count_distinct,
    decision,
    finding,
    forget,
    lookup,
    lookup_subject,
    lower,
    note,
    recall,
    remember,
    tally,
    tally_distinct,
    text,
    text_of,
    verdict,
)
from portcullis_guest.testing import call, configured, decide, enter, notes, refusal, reset, sandboxed, set_table  # noqa: E402


class Echo(Plugin):
    def configure(self, settings, problems):
        self.settings = settings
        if settings == "crash":
            raise KeyError("no such")
        problems.check(settings, {"name": str})

    def evaluate(self, call) -> Decision:
        if call.subject is None:
            return call.subject.id
        return decision([finding("ECHO", Effect.ALLOW, name=self.settings["name"], from_=call.received)], risk=3)


class Sdk(unittest.TestCase):
    def test_configures_once_and_then_evaluates(self):
        world = configured(Echo, {"name": "x"})
        decided = decide(world, call("okta.token").subject("u1").received("2026-11-25T10:00:00Z").build())
        self.assertEqual([(a.name, a.value) for a in decided.findings[0].arguments], [("name", '"x"'), ("from", "1795600800000")])
        with self.assertRaises(Err) as raised:
            world.configure("{}")
        self.assertEqual(raised.exception.value, ["settings: the plugin is configured already"])

    def test_what_is_raised_is_told_as_a_sentence(self):
        self.assertTrue(refusal(Echo, "{")[0].startswith("settings: JSONDecodeError"))
        self.assertEqual(refusal(Echo, '"crash"'), ["settings: KeyError: 'no such'"])
        self.assertEqual(refusal(Echo, {"nam": 1}), ["settings: `nam` is no setting", "settings: `name` is missing"])
        with self.assertRaises(Err) as raised:
            configured(Echo, {"name": "x"}).evaluate(call("okta.token").build())
        self.assertTrue(raised.exception.value.startswith("AttributeError: "))

    def test_shapes_name_what_is_wrong_by_its_path(self):
        shape = {"list": [{"name": str, "kind?": {"a", "b"}, "count?": int}], "on?": bool, "part?": float}
        problems = Problems()
        self.assertTrue(problems.check({"list": [{"name": ""}], "part": 1}, shape))
        self.assertFalse(problems.check({"list": [{"name": 1}, {"name": "", "kind": "c", "count": True}, None], "on": 0}, shape))
        self.assertEqual(problems.sentences, [
            "settings: `list[0].name` is no string",
            "settings: `list[1].kind` is none of a, b",
            "settings: `list[1].count` is no whole number",
            "settings: `list[2]` is no object",
            "settings: `on` is no boolean",
        ])  # fmt: skip
        many = Problems()
        for index in range(60):
            many.at(f"a[{index}]", "is wrong")
        self.assertEqual((len(many.sentences), many.sentences[50]), (51, "settings: and 10 more problems"))

    def test_text_is_only_a_string(self):
        self.assertEqual(text('"a"'), "a")
        for other in ["", '"', "a", "1", "null", '["a"]', '"\\ud800"', None]:
            self.assertIsNone(text(other))
        who = call("okta.token").attribute("a", None).attribute("b", ["x"]).build().subject
        self.assertEqual((attribute(who, "a"), attribute(who, "b"), text_of(who, "b"), attribute(None, "b")), (None, ["x"], None, None))
        self.assertEqual(lower("ÄbC"), "Äbc")

    def test_the_strictest_finding_is_the_verdict(self):
        self.assertEqual(verdict(decision()), Effect.ABSTAIN)
        effects = [Effect.REVIEW, Effect.DENY, Effect.ALLOW]
        self.assertEqual(verdict(decision([finding("A", effect) for effect in effects])), Effect.DENY)

    def test_no_clock_and_no_randomness(self):
        with sandboxed():
            for impure in (time.time, time.monotonic, random.random, lambda: random.choice([1]), lambda: random.seed(1)):
                self.assertRaisesRegex(TypeError, "a plugin has no (clock|randomness)", impure)
            self.assertEqual(random.Random(7).random(), random.Random(7).random())
        self.assertGreater(time.time(), 0)

    def test_notes_are_kept_until_a_test_asks(self):
        note("one")
        self.assertEqual(notes(), ["one"])
        self.assertEqual(notes(), [])

    def test_tables_are_found_by_key_by_network_and_by_subject(self):
        north = {"key": "4711", "subject": "u1", "columns": {"ward": "north", "beds": 7}}
        set_table("roster", [north, {"key": "4711", "columns": {"ward": "south"}}])
        self.assertEqual([column(row, "ward") for row in lookup("roster", "4711").rows], ["north", "south"])
        self.assertEqual(lookup("roster", "4712").rows, [])
        enter(call("okta.token").subject("u1").build())
        own = lookup_subject("roster")
        self.assertEqual((own.matched, column(own.rows[0], "beds"), column(own.rows[0], "none")), (SubjectMatch.ONE, 7, None))
        enter(call("okta.token").subject("u2").build())
        self.assertEqual(lookup_subject("roster").matched, SubjectMatch.NONE)

        networks = ["10.0.0.0/8", "10.1.0.0/16", "fd00::/8"]
        set_table("networks", [{"key": key, "columns": {"key": key}} for key in networks], stale=True)
        addresses = {"10.1.2.3": ["10.1.0.0/16"], "10.2.2.3": ["10.0.0.0/8"], "fd00::1": ["fd00::/8"], "11.2.2.3": [], "no": []}
        for address, found in addresses.items():
            self.assertEqual([column(row, "key") for row in lookup("networks", address).rows], found)
        self.assertTrue(lookup("networks", "no").stale)
        self.assertRaises(KeyError, lookup, "none", "1")
        reset()

    def test_memory_is_a_subjects_own_or_shared_and_ends(self):
        def at(id, millis):
            enter(call("okta.token").subject(id).received(millis).build())

        at("u1", 1_000)
        remember(Scope.SUBJECT, "last", b"x", 10)
        self.assertEqual(tally(Scope.SHARED, "tries", 60), 1)
        self.assertEqual(tally_distinct(Scope.SHARED, "who", "u1", 60), 1)
        at("u2", 2_000)
        self.assertIsNone(recall(Scope.SUBJECT, "last"))
        self.assertEqual(tally(Scope.SHARED, "tries", 60), 2)
        self.assertEqual(tally_distinct(Scope.SHARED, "who", "u1", 60), 1)
        self.assertEqual(tally_distinct(Scope.SHARED, "who", "u2", 60), 2)
        self.assertEqual((count_distinct(Scope.SHARED, "who", 60), count_distinct(Scope.SUBJECT, "who", 60)), (2, 0))
        at("u1", 10_999)
        self.assertEqual(recall(Scope.SUBJECT, "last"), b"x")
        at("u1", 11_000)
        self.assertIsNone(recall(Scope.SUBJECT, "last"))
        at("u1", 61_500)
        self.assertEqual(count(Scope.SHARED, "tries", 60), 1)
        self.assertEqual(count(Scope.SHARED, "tries", 61), 2)
        remember(Scope.SHARED, "tries", b"x", 10)
        forget(Scope.SHARED, "tries")
        self.assertIsNone(recall(Scope.SHARED, "tries"))
        self.assertEqual(count(Scope.SHARED, "tries", 60), 1)
        enter(call("okta.token").build())
        self.assertRaises(ValueError, recall, Scope.SUBJECT, "last")
        reset()

    @unittest.skipUnless(os.environ.get("PORTCULLIS_PYTHON_TOOLS"), "componentize-py is not there")
    def test_the_bindings_are_those_of_the_contract(self):
        with tempfile.TemporaryDirectory() as fresh:
            program = "import sys; from componentize_py import script; sys.exit(script())"
            command = [sys.executable, "-c", program, "-d", str(HERE / "../../wit"), "-w", "search-plugin", "bindings", fresh]
            subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": os.environ["PORTCULLIS_PYTHON_TOOLS"]})
            ours = [path.relative_to(HERE / "bindings") for path in (HERE / "bindings").rglob("*.py")]
            self.assertGreater(len(ours), 5)
            for path in ours:
                self.assertTrue(filecmp.cmp(HERE / "bindings" / path, Path(fresh) / path, shallow=False), f"{path} is not the contract's")


if __name__ == "__main__":
    unittest.main()
