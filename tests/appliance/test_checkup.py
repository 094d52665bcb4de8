"""Every check of the appliance fails for one fact and passes for another; the pages that list them are current."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest
import yaml

from connector.appliance.doctor.facts import (
    CertificateFact,
    ClockFact,
    Fact,
    FactKind,
    LibraryFact,
    LoginFact,
    NameFact,
    PinFact,
    PortFact,
    SpaceFact,
)
from connector.appliance.doctor.rules import RULES, document, judge, passed
from connector.vcenter import role
from connector.vcenter.facts import Grant
from connector.vcenter.role import On

ROOT = Path(__file__).parents[2]
MIB, GIB = 1 << 20, 1 << 30
UNKNOWN, CLOSED = "does not resolve (unknown)", "no connection (refused)"

#: title of a rule -> (a fact that breaks it, one that does not)
CASES: Final[dict[str, tuple[Fact, Fact]]] = {
    "vCenter's name resolves": (
        NameFact(FactKind.VCENTER, "vc", (), UNKNOWN),
        NameFact(FactKind.VCENTER, "vc", ("10.0.0.1",)),
    ),
    "the control plane's name resolves": (
        NameFact(FactKind.CONTROL, "cp", (), UNKNOWN),
        NameFact(FactKind.CONTROL, "cp", ("10.0.0.2",)),
    ),
    "the instance's name resolves": (
        NameFact(FactKind.INSTANCE, "in", (), UNKNOWN),
        NameFact(FactKind.INSTANCE, "in", ("::1",)),
    ),
    "the name of each connected host that runs machines, as vCenter shows it, resolves": (
        NameFact(FactKind.HOST, "esx", (), UNKNOWN),
        NameFact(FactKind.HOST, "esx", ("10.0.0.3",)),
    ),
    "the names of the other connected hosts resolve": (
        NameFact(FactKind.IDLE_HOST, "esx", (), UNKNOWN),
        NameFact(FactKind.IDLE_HOST, "esx", ("10.0.0.3",)),
    ),
    "vCenter answers with TLS": (
        PortFact(FactKind.VCENTER, "vc:443", "", CLOSED),
        PortFact(FactKind.VCENTER, "vc:443"),
    ),
    "port 902 of each host that runs machines accepts connections": (
        PortFact(FactKind.HOST, "esx:902", "", CLOSED),
        PortFact(FactKind.HOST, "esx:902", "220 VMware Authentication Daemon"),
    ),
    "port 902 of the other hosts accepts connections": (
        PortFact(FactKind.IDLE_HOST, "esx:902", "", CLOSED),
        PortFact(FactKind.IDLE_HOST, "esx:902", "220 VMware Authentication Daemon"),
    ),
    "each host's port 902 greets as NFC does": (
        PortFact(FactKind.HOST, "esx:902", "SSH-2.0"),
        PortFact(FactKind.HOST, "esx:902", "220 VMware Authentication Daemon"),
    ),
    "each host answers with TLS": (
        PortFact(FactKind.HOST_TLS, "esx:443", "", CLOSED),
        PortFact(FactKind.HOST_TLS, "esx:443"),
    ),
    "each host that runs machines serves the files of their disks, where the reader https reads them there": (
        PortFact(FactKind.HOST_FILES, "esx:443", "", CLOSED),
        PortFact(FactKind.HOST_FILES, "esx:443"),
    ),
    "the instance's ports are open": (
        PortFact(FactKind.INSTANCE, "in:8703", "", CLOSED),
        PortFact(FactKind.INSTANCE, "in:8703"),
    ),
    "vCenter shows the certificate with the configured thumbprint": (
        CertificateFact(FactKind.VCENTER, "vc:443", "AA:BB", "AA:CC"),
        CertificateFact(FactKind.VCENTER, "vc:443", "AA:BB", "AA:BB"),
    ),
    "each host that runs machines shows the certificate that vCenter knows": (
        CertificateFact(FactKind.HOST, "esx:443", "AA:BB", "AA:CC"),
        CertificateFact(FactKind.HOST, "esx:443", "", "AA:CC"),
    ),
    "the other hosts show the certificates that vCenter knows": (
        CertificateFact(FactKind.IDLE_HOST, "esx:443", "AA:BB", "AA:CC"),
        CertificateFact(FactKind.IDLE_HOST, "esx:443", "AA:BB", "AA:BB"),
    ),
    "each host shows the certificate that its pin names": (
        PinFact(FactKind.IDLE_HOST, "esx:443", "ab" * 32, "cd" * 32),
        PinFact(FactKind.IDLE_HOST, "esx:443", "ab" * 32, "ab" * 32),
    ),
    "for the reader nfc, each host that runs machines has a pin, or there is an authority": (
        PinFact(FactKind.HOST, "esx:443", "", "cd" * 32),
        PinFact(FactKind.HOST, "esx:443", "cd" * 32, "cd" * 32),
    ),
    "vCenter accepts the login, and answers": (
        LoginFact(FactKind.VCENTER, "vc", "refused"),
        LoginFact(FactKind.VCENTER, "vc"),
    ),
    "the control plane answers, and knows this appliance or can enrol it": (
        LoginFact(FactKind.CONTROL, "cp", "refused"),
        LoginFact(FactKind.CONTROL, "cp"),
    ),
    "the clocks agree within 60 s": (ClockFact("vc", -61.0), ClockFact("vc", 90.0, latency=40.0)),
    "the user may do what a migration needs": (
        Grant(On.MACHINE, "vm-1", "web", ("VirtualMachine.State.CreateSnapshot",)),
        Grant(On.MACHINE, "vm-1", "web", ("VirtualMachine.Interact.PowerOff",)),
    ),
    "the user may do what makes it safer or complete": (
        Grant(On.ROOT, "group-d1", "root folder", ("Global.DisableMethods",)),
        Grant(On.ROOT, "group-d1", "root folder", ()),
    ),
    "the VDDK is there, loads, and fits this vSphere": (
        LibraryFact("/opt/vddk", "8.0.3", trouble="no library"),
        LibraryFact("/opt/vddk", "8.0.3", "8.0.3"),
    ),
    "the state directory can be used": (
        SpaceFact(FactKind.STATE, "/var", 63 * MIB, GIB),
        SpaceFact(FactKind.STATE, "/var", 64 * MIB, GIB),
    ),
    "the state directory has room to spare": (
        SpaceFact(FactKind.STATE, "/var", GIB - 1, 9 * GIB),
        SpaceFact(FactKind.STATE, "/var", GIB, 9 * GIB),
    ),
    "the target can be used": (
        SpaceFact(FactKind.TARGET, "/srv", trouble="read-only"),
        SpaceFact(FactKind.TARGET, "/srv", MIB, GIB),
    ),
    "a tenth of the target is free": (
        SpaceFact(FactKind.TARGET, "/srv", 99 * MIB, 1000 * MIB),
        SpaceFact(FactKind.TARGET, "/srv", 100 * MIB, 1000 * MIB),
    ),
}


@pytest.mark.parametrize("title", [rule.title for rules in RULES.values() for rule in rules])
def test_every_check_fails_for_one_fact_and_passes_for_another(title: str) -> None:
    wrong, right = CASES[title]
    assert title in {one.title for one in judge([wrong])}
    assert title not in {one.title for one in judge([right])}


@pytest.mark.parametrize("title", [rule.title for rules in RULES.values() for rule in rules])
def test_what_passed_is_what_was_looked_at_and_is_not_wrong(title: str) -> None:
    wrong, right = CASES[title]
    assert title not in {one for _, one, _ in passed([wrong])}
    compared = not isinstance(right, CertificateFact) or bool(right.given)
    assert (title in {one for _, one, _ in passed([right])}) is compared


@pytest.mark.parametrize(
    ("fact", "holds"),
    [
        (SpaceFact(FactKind.STATE, "/s", MIB, 100 * GIB), set()),
        (SpaceFact(FactKind.TARGET, "/t", 1000, 100 * GIB), set()),
        (
            SpaceFact(FactKind.STATE, "/s", 50 * GIB, 100 * GIB),
            {"the state directory can be used", "the state directory has room to spare"},
        ),
        (PinFact(FactKind.HOST, "esx", "", "AB"), set()),
        (PinFact(FactKind.IDLE_HOST, "esx", "", "AB"), set()),
        (
            PinFact(FactKind.IDLE_HOST, "esx", "AB", "AB"),
            {"each host shows the certificate that its pin names"},
        ),
    ],
    ids=lambda value: value.kind.value if hasattr(value, "kind") else str(len(value)),
)
def test_a_rule_that_was_not_compared_has_not_passed(fact: Fact, holds: set[str]) -> None:
    assert {title for _, title, _ in passed([fact])} == holds


def test_one_fact_breaks_no_two_degrees_of_one_check() -> None:
    for wrong, _ in CASES.values():
        assert len(list(judge([wrong]))) == 1


@pytest.mark.generated
def test_the_page_is_current() -> None:
    _current(ROOT / "docs" / "doctor.md", "checks", document())


@pytest.mark.generated
def test_the_role_is_current_and_lists_what_the_documentation_lists() -> None:
    file = ROOT / "config" / "vcenter-role.yaml"
    if os.environ.get("UPDATE_DOCS"):
        file.write_text(role.document())
    assert file.read_text() == role.document()
    listed = yaml.safe_load(file.read_text())["privileges"]
    assert {one["id"] for one in listed} == {one.id for one in role.PRIVILEGES}
    rows = ["| privilege | on | for | can be done without |", "| --- | --- | --- | --- |"]
    rows += ["| " + " | ".join(row) + " |" for row in role.table()]
    _current(ROOT / "docs" / "operating.md", "role", "\n".join(rows) + "\n")


def _current(page: Path, block: str, text: str) -> None:
    """The generated block of a page; UPDATE_DOCS=1 writes it."""
    before, _, rest = page.read_text().partition(f"<!-- {block} -->\n")
    found, _, after = rest.partition("<!-- end -->")
    if os.environ.get("UPDATE_DOCS"):
        page.write_text(f"{before}<!-- {block} -->\n{text}<!-- end -->{after}")
        found = text
    assert found == text
