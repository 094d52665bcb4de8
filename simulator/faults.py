"""Fault rules are data: which call misbehaves, on which object, after how many calls, how often, and how.

Rules are JSON: [{"call": "CreateSnapshot_Task", "object": "vm-1*", "skip": 1, "times": 2, "action": "fault",
"fault": "TaskInProgress", "message": "..."}]. `call` and `object` are shell patterns. The SOAP server
consults them by method name (and carries out the actions "cut" and "answer"), everything else by the names in POINTS.
A file with a call that nothing consults is refused.
"""

import json
import threading
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from fnmatch import fnmatchcase
from random import Random
from typing import Any

from simulator.estate.errors import EstateFault

ACTIONS = frozenset({"fault", "delay", "cut", "answer"})

#: Inside operations there is no connection to cut, and an answer is asked for at few points.
_WITHIN = ("estate.", "task:", "done:")
_ANSWERED = ("estate.query", "estate.shutdown", "estate.track")

POINTS = {
    "estate.freeze": "before the disks of a machine are frozen for a snapshot",
    "estate.consolidate": "before the disks of a removed snapshot are folded together",
    "estate.revert": "before the disks go back to a snapshot",
    "estate.query": "before changed areas are computed; an answer may carry `changeId` to use instead",
    "estate.shutdown": 'when the guest is asked to shut down; an answer {"ignore": true} makes it never end',
    "estate.write": "before a guest's write",
    "nfc.connect": "as somebody connects to an ESXi host (`object`: its moref); anything but delay hangs up",
    "nfc.session": "before OPEN_SESSION, SET_SOCK_OPTS or SET_RES_POOL; `object` is the ticket's machine, here and below",
    "nfc.open": 'before OPEN_FILE; an answer {"error": 5} is an error frame with that number, here and below',
    "nfc.read": "before the answer to a read; cut drops the connection after `bytes` of it, here and below",
    "nfc.query": "before QUERY_ALLOCATED",
    "nfc.metadata": "before DDB_GET",
    "nfc.close": "before CLOSE_FILE and CLOSE_SESSION",
    "folder.read": "before a file of a datastore is sent over HTTPS; `object` is its path, see docs/simulator.md",
    "estate.track": 'as a guest writes; an answer {"lose": true} makes change tracking miss it',
}


class InjectedFault(EstateFault):
    """The fault of a rule; `name` is the rule's."""

    def __init__(self, name: str, message: str, details: dict[str, Any]) -> None:
        super().__init__(message, **details)
        self.name = name


@dataclass(frozen=True)
class Rule:
    """One rule. `times` None: for ever. `chance` is drawn from the engine's seed. `seconds` waits before any
    action.

    action "fault": `fault` (a vim type name), `message`, `details` (its properties). "delay": `seconds` only.
    "cut": drop the connection after `bytes` of the answer. "answer": the caller of `consult` gets `answer`.
    """

    call: str
    action: str
    object: str = "*"
    skip: int = 0
    times: int | None = 1
    chance: float = 1.0
    seconds: float = 0.0
    fault: str = "SystemError"
    message: str = "injected"
    details: dict[str, Any] = field(default_factory=dict)
    bytes: int = 0
    answer: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise ValueError(
                f"fault rule for {self.call}: action {self.action!r} is none of {sorted(ACTIONS)}"
            )
        if not self._can_act():
            raise ValueError(
                f"fault rule for {self.call}: nothing carries out the action {self.action!r} there"
            )
        if self.skip < 0 or (self.times is not None and self.times < 1) or not 0 <= self.chance <= 1:
            raise ValueError(f"fault rule for {self.call}: skip, times or chance out of range")

    def _can_act(self) -> bool:
        if self.call == "folder.read":
            return self.action != "fault"
        if not self.call.startswith(_WITHIN) or self.action in ("fault", "delay"):
            return True
        known = any(fnmatchcase(point, self.call) for point in POINTS)
        answered = any(fnmatchcase(point, self.call) for point in _ANSWERED)
        return self.action == "answer" and (answered or (not known and self.call.startswith("estate.")))


def parse(text: str) -> list[Rule]:
    """Rules from JSON text. ValueError names the rule and the key that is wrong."""
    known = {entry.name for entry in fields(Rule)}
    rules = []
    for number, item in enumerate(json.loads(text)):
        unknown = sorted(set(item) - known)
        if unknown or "call" not in item or "action" not in item:
            raise ValueError(f"fault rule {number}: unknown keys {unknown}, or no call or action")
        rules.append(Rule(**item))
    return rules


def demand_known(rules: Iterable[Rule], calls: Collection[str]) -> None:
    """Raises ValueError for a rule that never acts, because its `call` matches none of these names."""
    for rule in rules:
        if not any(fnmatchcase(call, rule.call) for call in calls):
            near = get_close_matches(rule.call, calls)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise ValueError(f"fault rule for {rule.call}: there is no such call{hint}")


class Faults:
    """The rules in force and how often each has matched. Any thread."""

    def __init__(self, rules: Iterable[Rule] = (), seed: int = 0) -> None:
        self._lock = threading.Lock()
        self._random = Random(seed)  # noqa: S311 - chance, not secrecy
        self._rules: list[tuple[Rule, list[int]]] = []
        self.replace(rules)

    def replace(self, rules: Iterable[Rule]) -> None:
        """Forget all rules and counts; put these in force."""
        with self._lock:
            self._rules = [(rule, [0]) for rule in rules]

    def add(self, *rules: Rule) -> None:
        with self._lock:
            self._rules += [(rule, [0]) for rule in rules]

    def consult(self, call: str, target: str = "") -> Rule | None:
        """The rule that fires for this call now, counted; None most of the time. Does not wait or raise."""
        with self._lock:
            for rule, count in self._rules:
                if (
                    fnmatchcase(call, rule.call)
                    and fnmatchcase(target, rule.object)
                    and self._fires(rule, count)
                ):
                    return rule
        return None

    def meet(self, call: str, target: str = "") -> dict[str, Any]:
        """Consult and carry out: wait, raise InjectedFault, or return the answer ({} when nothing is
        asked).
        """
        rule = self.consult(call, target)
        if rule is None:
            return {}
        if rule.seconds:
            time.sleep(rule.seconds)
        if rule.action == "fault":
            raise InjectedFault(rule.fault, rule.message, rule.details)
        return rule.answer

    def _fires(self, rule: Rule, count: list[int]) -> bool:
        if rule.chance < 1 and self._random.random() >= rule.chance:
            return False
        count[0] += 1
        return count[0] > rule.skip and (rule.times is None or count[0] <= rule.skip + rule.times)
