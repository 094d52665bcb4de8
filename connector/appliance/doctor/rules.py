"""Rules over facts say what must be true around an appliance before a migration; they look like pre-flight checks. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from connector import amounts
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
from connector.model import Severity
from connector.vcenter import role
from connector.vcenter.checks.rule import BLOCK, GIB, MIB, WARN, CheckContext, Rule, when
from connector.vcenter.facts import Grant

LEAST_STATE: Final = 64 * MIB  # bytes without which the membership and logs cannot be stored
SPARE_STATE: Final = GIB
SPARE_TARGET: Final = 0.1  # of its file system
MOST_SKEW: Final = 60.0  # seconds; signatures tolerate minutes, but logs of both sides must be comparable
_HELLO: Final = "220"  # the first bytes from the NFC port of an ESXi host


@dataclass(frozen=True, slots=True)
class DoctorFinding:
    """A rule that a fact breaks."""

    check: str
    title: str
    severity: Severity
    on: str
    what: str
    remedy: str

    @property
    def bad(self) -> bool:
        return self.severity is Severity.BLOCK


def _always(_fact: Any) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class _Judgement:
    """What is wrong with a fact that the rule applies to. A rule neither fails nor passes for other facts."""

    wrong: Callable[[Any], str]
    applies: Callable[[Any], bool]

    def __call__(self, fact: Any, _around: CheckContext) -> str:
        return self.wrong(fact) if self.applies(fact) else ""


def _of_kind(
    kind: FactKind, wrong: Callable[[Any], str], applies: Callable[[Any], bool] = _always
) -> _Judgement:
    """The rule for facts of one kind."""
    return _Judgement(wrong, lambda fact: fact.kind is kind and applies(fact))


def _any(wrong: Callable[[Any], str], applies: Callable[[Any], bool] = _always) -> _Judgement:
    return _Judgement(wrong, applies)


def _trouble(fact: Any) -> str:
    return str(fact.trouble)


def _unlike(fact: CertificateFact) -> str:
    return when(fact.given and fact.given != fact.seen, f"shows {fact.seen}, not {fact.given}")


def _unpinned(fact: PinFact) -> str:
    return when(
        not fact.pin, f"only a SHA-1 vouches for it, in vCenter's tickets; it shows SHA-256 {fact.seen}"
    )


def _mispinned(fact: PinFact) -> str:
    return when(fact.pin != fact.seen, f"shows SHA-256 {fact.seen}, not its pin {fact.pin}")


def _unheard(port: PortFact) -> str:
    silent = not port.trouble and not port.greeting.startswith(_HELLO)
    return when(silent, f"something answers, but does not greet like an ESXi host: {port.greeting[:40]!r}")


def _lacks(needed: bool) -> Callable[[Grant], str]:
    def wrong(grant: Grant) -> str:
        names = [name for name in grant.missing if role.needed(name) is needed]
        return when(names, f"{grant.on}: {', '.join(names)}")

    return wrong


def _skewed(clock: ClockFact) -> str:
    off = abs(clock.skew) - clock.latency
    way = "ahead of" if clock.skew > 0 else "behind"
    return when(off > MOST_SKEW, f"{abs(clock.skew):.0f} s {way} vCenter")


def _scarce(room: SpaceFact, least: float) -> str:
    """Why less than `least` bytes are free."""
    return when(
        not room.trouble and room.free < least,
        f"{amounts.size(room.free)} free of {amounts.size(room.size)}",
    )


def _usable(least: float) -> Callable[[SpaceFact], bool]:
    """Whether `least` bytes are free; below, a graver rule applies."""
    return lambda room: not room.trouble and room.free >= least


_DNS = "add the name to the DNS that the appliance uses (or /etc/hosts)"
_THUMBPRINT = "compare with the certificate on the server itself; after a renewal, set the new thumbprint"

NAMES: Final[tuple[Rule[Any], ...]] = (
    Rule("A1", "vCenter's name resolves", BLOCK, "DNS", _of_kind(FactKind.VCENTER, _trouble), _DNS),
    Rule("A1", "the control plane's name resolves", BLOCK, "DNS", _of_kind(FactKind.CONTROL, _trouble), _DNS),
    Rule("A1", "the instance's name resolves", BLOCK, "DNS", _of_kind(FactKind.INSTANCE, _trouble), _DNS),
    Rule(
        "A1",
        "the name of each connected host that runs machines, as vCenter shows it, resolves",
        BLOCK,
        "`host.name`, DNS",
        _of_kind(FactKind.HOST, _trouble),
        _DNS + ": disks are read from the host by this name",
    ),
    Rule(
        "A1",
        "the names of the other connected hosts resolve",
        WARN,
        "`host.name`, DNS",
        _of_kind(FactKind.IDLE_HOST, _trouble),
        _DNS + ", before a machine moves there",
    ),
)

PORTS: Final[tuple[Rule[Any], ...]] = (
    Rule(
        "A2",
        "vCenter answers with TLS",
        BLOCK,
        "its port, 443",
        _of_kind(FactKind.VCENTER, _trouble),
        "open the port from the appliance to vCenter, and check the address",
    ),
    Rule(
        "A6",
        "port 902 of each host that runs machines accepts connections",
        BLOCK,
        "port 902",
        _of_kind(FactKind.HOST, _trouble),
        "open TCP 902 from the appliance to the host: its disks are read there, by VDDK or over NFC",
    ),
    Rule(
        "A6",
        "port 902 of the other hosts accepts connections",
        WARN,
        "port 902",
        _of_kind(FactKind.IDLE_HOST, _trouble),
        "open TCP 902 from the appliance to the host, before a machine moves there",
    ),
    Rule(
        "A6",
        "each host's port 902 greets as NFC does",
        WARN,
        "the first line of port 902",
        _of_kind(FactKind.HOST, _unheard),
        "see what is in between: a proxy that accepts everything hides a closed port",
    ),
    Rule(
        "A7",
        "each host answers with TLS",
        WARN,
        "port 443 of the host",
        _of_kind(FactKind.HOST_TLS, _trouble),
        "open TCP 443 to the host, or look at its certificate by other means",
    ),
    Rule(
        "A7",
        "each host that runs machines serves the files of their disks, where the reader https reads them there",
        BLOCK,
        "`https.host_port` of the host",
        _of_kind(FactKind.HOST_FILES, _trouble),
        "open this port from the appliance to the host, or set `https.host_port` to 0: files come through vCenter then",
    ),
    Rule(
        "A12",
        "the instance's ports are open",
        BLOCK,
        "ports 8080 and 8703",
        _of_kind(FactKind.INSTANCE, _trouble),
        "open TCP 8080 and 8703 from the appliance to the instance, in its security group too",
    ),
)

CERTIFICATES: Final[tuple[Rule[Any], ...]] = (
    Rule(
        "A3",
        "vCenter shows the certificate with the configured thumbprint",
        BLOCK,
        "TLS",
        _of_kind(FactKind.VCENTER, _unlike),
        _THUMBPRINT,
    ),
    Rule(
        "A7",
        "each host that runs machines shows the certificate that vCenter knows",
        BLOCK,
        "TLS of the host, `summary.config.sslThumbprint`",
        _of_kind(FactKind.HOST, _unlike),
        "reconnect the host in vCenter, which then learns its new certificate",
    ),
    Rule(
        "A7",
        "the other hosts show the certificates that vCenter knows",
        WARN,
        "TLS of the host, `summary.config.sslThumbprint`",
        _of_kind(FactKind.IDLE_HOST, _unlike),
        "reconnect the host in vCenter, which then learns its new certificate",
    ),
)

PINS: Final[tuple[Rule[Any], ...]] = (
    Rule(
        "A13",
        "each host shows the certificate that its pin names",
        BLOCK,
        "TLS of the host, `nfc.pins`",
        _any(_mispinned, lambda fact: bool(fact.pin)),
        "compare with the certificate on the host itself; after a renewal, set the new pin",
    ),
    Rule(
        "A13",
        "for the reader nfc, each host that runs machines has a pin, or there is an authority",
        WARN,
        "`nfc.pins`, `nfc.authority`",
        _of_kind(FactKind.HOST, _unpinned),
        "name nfc.authority, or compare this SHA-256 with the certificate on the host itself and write it into nfc.pins "
        "(config/appliance.yaml)",
    ),
)

WELCOMES: Final[tuple[Rule[Any], ...]] = (
    Rule(
        "A4",
        "vCenter accepts the login, and answers",
        BLOCK,
        "Login, the inventory",
        _of_kind(FactKind.VCENTER, _trouble),
        "check the named cause, user and password, then run this again: checks that need a session did not run",
    ),
    Rule(
        "A11",
        "the control plane answers, and knows this appliance or can enrol it",
        BLOCK,
        "the control plane's API, with our credential",
        _of_kind(FactKind.CONTROL, _trouble),
        "check that it runs, and the network in between; enrol an unknown appliance again with a new activation code",
    ),
)

CLOCKS: Final[tuple[Rule[Any], ...]] = (
    Rule(
        "A5",
        f"the clocks agree within {MOST_SKEW:.0f} s",
        WARN,
        "`CurrentTime`",
        _any(_skewed),
        "let both take their time from the same NTP servers",
    ),
)

GRANTS: Final[tuple[Rule[Any], ...]] = (
    Rule(
        "A8",
        "the user may do what a migration needs",
        BLOCK,
        "`HasPrivilegeOnEntities`, on each machine and datastore",
        _any(_lacks(True)),
        "give the role of config/vcenter-role.yaml; `connector doctor --role` prints the commands",
    ),
    Rule(
        "A8",
        "the user may do what makes it safer or complete",
        WARN,
        "`HasPrivilegeOnEntities`, on each machine and datastore",
        _any(_lacks(False)),
        "config/vcenter-role.yaml says what is lost without them; `connector doctor --role` prints the commands",
    ),
)

LIBRARIES: Final[tuple[Rule[Any], ...]] = (
    Rule(
        "A9",
        "the VDDK is there, loads, and fits this vSphere",
        BLOCK,
        "the library, loaded in a process of its own; versions of vCenter and hosts",
        _any(_trouble),
        "unpack a VDDK whose version is at most one newer, two older than vSphere's (docs/vddk.md)",
    ),
)

ROOMS: Final[tuple[Rule[Any], ...]] = (
    Rule(
        "A10",
        "the state directory can be used",
        BLOCK,
        "its file system",
        _of_kind(FactKind.STATE, lambda room: room.trouble or _scarce(room, LEAST_STATE)),
        "make room, or let the appliance's user write there",
    ),
    Rule(
        "A10",
        "the state directory has room to spare",
        WARN,
        "its file system",
        _of_kind(FactKind.STATE, lambda room: _scarce(room, SPARE_STATE), _usable(LEAST_STATE)),
        "make room",
    ),
    Rule(
        "A10",
        "the target can be used",
        BLOCK,
        "its file system",
        _of_kind(FactKind.TARGET, lambda room: room.trouble or _scarce(room, MIB)),
        "make room, or let this user write there",
    ),
    Rule(
        "A10",
        "a tenth of the target is free",
        WARN,
        "its file system",
        _of_kind(FactKind.TARGET, lambda room: _scarce(room, SPARE_TARGET * room.size), _usable(MIB)),
        "make room: images need as much as the machines' disks hold",
    ),
)

RULES: Final[dict[type, tuple[Rule[Any], ...]]] = {
    NameFact: NAMES,
    PortFact: PORTS,
    CertificateFact: CERTIFICATES,
    PinFact: PINS,
    LoginFact: WELCOMES,
    ClockFact: CLOCKS,
    Grant: GRANTS,
    LibraryFact: LIBRARIES,
    SpaceFact: ROOMS,
}


def judge(facts: Iterable[Fact]) -> Iterator[DoctorFinding]:
    """Every rule that a fact breaks, in the order of the facts."""
    around = CheckContext()
    for fact in facts:
        on = fact.name if isinstance(fact, Grant) else fact.on
        for rule in RULES[type(fact)]:
            if message := rule.wrong(fact, around):
                yield DoctorFinding(rule.id, rule.title, rule.severity, on, message, rule.remedy)


def passed(facts: Iterable[Fact]) -> Iterator[tuple[str, str, str]]:
    """Check, title and object of every rule that was applied to a fact and holds."""
    around = CheckContext()
    for fact in facts:
        for rule in RULES[type(fact)]:
            if _compared(rule, fact) and not rule.wrong(fact, around):
                yield rule.id, rule.title, fact.name if isinstance(fact, Grant) else fact.on


def _compared(rule: Rule[Any], fact: Fact) -> bool:
    """Whether a rule applies to a fact, its probe succeeded, and it has what the rule compares."""
    if isinstance(rule.wrong, _Judgement) and not rule.wrong.applies(fact):
        return False
    if isinstance(fact, CertificateFact):
        return bool(fact.given)
    return not getattr(fact, "trouble", "")


def document() -> str:
    """The table of docs/doctor.md."""
    rules = sorted(
        (rule for some in RULES.values() for rule in some), key=lambda rule: (int(rule.id[1:]), rule.severity)
    )
    head = "| check | in order when | else | looks at | what to do |\n| --- | --- | --- | --- | --- |\n"
    return head + "".join(
        f"| {rule.id} | {rule.title} | {'blocks' if rule.severity is BLOCK else 'warning'} | {rule.reads} | {rule.remedy} |\n"
        for rule in rules
    )
