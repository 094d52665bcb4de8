"""docs/checks.md is made from the rules, and from a table of the checks that are made elsewhere. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from connector.model import Severity
from connector.vcenter.checks.rule import Rule
from connector.vcenter.eligibility import DISK_RULES, GOVERNED, NIC_RULES, PASSING, RULES


class Elsewhere(NamedTuple):
    """A documented check that needs more than inventory values, and the place where it is made."""

    id: str
    what: str
    where: str


ELSEWHERE: Final = (
    Elsewhere(
        "S1",
        "login, API version, product",
        "at login: the newest common API version from 5.5 on, or an error",
    ),
    Elsewhere(
        "S2", "licence allows the calls", "the first snapshot: a RestrictedVersion fault is reported as such"
    ),
    Elsewhere("S3", "thumbprints", "every connection, before a byte is sent; `connector doctor`"),
    Elsewhere("S4", "privileges on machines and datastores", "`connector doctor`"),
    Elsewhere("S5", "names and ports of the hosts", "`connector doctor`"),
    Elsewhere("S7", "VDDK present and right", "`connector doctor`, and each worker at its start"),
    Elsewhere("S8", "NFC buffers left on the host", "the appliance, while it opens disks"),
    Elsewhere("S9", "clocks agree", "`connector doctor`"),
    Elsewhere(
        "S10", "a backup or snapshot task runs now", "each pass: it waits for the task that holds the machine"
    ),
    Elsewhere(
        "D19", "tracking not restarted since the last pass", "each pass: `disk_set_changes`, `comparable`"
    ),
    Elsewhere("D20", "same disks as at the last pass", "each pass: `disk_set_changes`"),
    Elsewhere("N2", "addresses fit the target's subnet", "the target's provider, when it makes the instance"),
    Elsewhere(
        "T1", "quota, instance type, image limits", "the target's provider, when it makes the instance"
    ),
    Elsewhere("T2", "target reads as zero", "the instance, before zeros are skipped"),
    Elsewhere(
        "T3",
        "names unique, earlier objects of the job found",
        "the control plane, by token, before it creates",
    ),
    Elsewhere(
        "T4",
        "bandwidth to the instance",
        "the pass itself: rate, time left and what limits the rate are shown",
    ),
)

SAYS: Final = {
    Severity.BLOCK: "blocks",
    Severity.WARM_BLOCK: "blocks while running",
    Severity.WARN: "warning",
    Severity.INFO: "note",
}

_INTRODUCTION: Final = """# Pre-flight checks

`connector vm check` reads the inventory and applies these rules; `--deep` also applies [the checks inside
disks](deep-checks.md). Nothing is changed. A finding that *blocks* gives the exit code 5. A finding that *blocks while running*
forbids to migrate the machine while it runs, and stops no pass while it is powered off. It is listed in both states, and the
exit code is 0. This page is generated from `connector/vcenter/checks`; a test compares them.
"""

_REPEATED: Final = """What was true on Tuesday may be different on Saturday night: everything that blocks is asked again.

- {blocking}: the pass ends with what blocks.
- {passing}: somebody works on a host or a datastore. The pass waits; its job says for what.
- {governed}: the thresholds of the appliance decide ([operating](operating.md)). The pass of a running machine waits.
- V11, V12: what was left is removed, and consolidation is waited for.
- D19, D20: the disks are compared with those of the pass before.
- S10: the pass waits for a backup at work before it asks the checks above: what the backup switched off (V6) has come back then.
- S8: the pass waits for the host's memory.
"""

_TITLES: Final = (("Machines", RULES), ("Disks", DISK_RULES), ("Network cards", NIC_RULES))


def document() -> str:
    """The whole page."""
    return "\n".join(_parts())


def _parts() -> Iterator[str]:
    yield _INTRODUCTION
    for title, rules in _TITLES:
        yield f"## {title}\n"
        yield _table(("check", "in order when", "else", "reads", "what to do", "by the tool"), _rows(rules))
    yield "## Checked elsewhere\n"
    yield "Inventory values do not answer these checks. They are made where the answer is known.\n"
    yield _table(("check", "what", "where"), ELSEWHERE)
    yield "## Repeated before every pass\n"
    yield _REPEATED.format(
        blocking=_listed(_blocking() - GOVERNED - PASSING),
        passing=_listed(PASSING),
        governed=_listed(GOVERNED),
    )


def _blocking() -> frozenset[str]:
    """The checks that forbid a migration, or that of a running machine."""
    grave = Severity.blocking(running=True)
    return frozenset(rule.id for _, rules in _TITLES for rule in rules if rule.severity in grave)


def _listed(ids: Iterable[str]) -> str:
    return ", ".join(sorted(ids, key=lambda check: ("SVDN".index(check[0]), int(check[1:]))))


def _rows(rules: Iterable[Rule[Any]]) -> Iterator[Sequence[str]]:
    for rule in rules:
        tool = "yes" if rule.fixable else ""
        yield (rule.id, rule.title, SAYS[rule.severity], rule.reads, rule.remedy, tool)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return (
        "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
        + "\n"
    )
