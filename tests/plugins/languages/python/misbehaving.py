"""Does what it must not, in the ways that Python offers."""

import random
import time

from portcullis_guest import Decision, Effect, Plugin, Problems, decision, export, finding, text_of

calls = 0


def loop():
    while True:
        pass


def eat():
    eaten = []
    while True:
        eaten.append(["x"] * 10_000)


def throw():
    raise ValueError("the plugin says why")


def recurse():
    return recurse() + 1


def remember():
    global calls
    calls += 1
    return decision(risk=calls)


def order():
    # Sets of strings are ordered by their hashes, which a seed makes differ from one interpreter to the next.
    return decision([finding("ORDER", Effect.ALLOW, names=list({"b", "a", "c", "pharmacy", "billing"}), hash=hash("pharmacy"))])


MISBEHAVIOURS = {
    "nothing": decision,
    "loop": loop,
    "eat": eat,
    "flood": lambda: decision([finding("FLOOD", Effect.ALLOW, text="x" * (1 << 20))]),
    "throw": throw,
    "crash": lambda: None.no_such,
    "clock": lambda: decision(risk=int(time.time()) % 256),
    "random": lambda: decision(risk=random.randrange(256)),
    "recurse": recurse,
    "remember": remember,
    "order": order,
}


class Misbehaving(Plugin):
    def configure(self, settings, problems: Problems) -> None:
        if "configure" in settings:
            MISBEHAVIOURS[settings["configure"]]()

    def evaluate(self, call) -> Decision:
        return MISBEHAVIOURS[text_of(call.subject, "status") or "nothing"]()


WitWorld = export(Misbehaving)
