"""Looking around for real: sockets, TLS, the simulator's clock and privileges, a VDDK that is loaded."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from connector.appliance.doctor import probes
from connector.appliance.doctor.facts import CertificateFact, FactKind, LibraryFact, LoginFact, SpaceFact
from connector.appliance.doctor.probes import Ports
from connector.appliance.doctor.rules import DoctorFinding, judge
from connector.cli.site import Site
from connector.errors import BadInput
from connector.sources.factory import HostUse, ReaderSettings
from connector.sources.https import HttpsSettings
from connector.sources.nfc import NfcSettings
from connector.vcenter.client import VCenter
from connector.vcenter.facts import VCenterFacts
from connector.vcenter.role import On, wanted
from simulator.estate.estate import Estate
from simulator.vixdisklib import install
from tests.vcenter.imaginary import World, world
from tests.vcenter.ledger import Memory
from tests.waiting import PATIENCE

HERE = "127.0.0.1"


def named(host: str) -> object:
    """Every host of the estate under one name."""

    def prepare(estate: Estate) -> None:
        estate.change(
            lambda old: replace(old, hosts={one.moref: replace(one, name=host) for one in old.hosts.values()})
        )

    return prepare


@pytest.fixture
def home() -> Iterator[World]:
    with world(prepare=named(HERE)) as made:  # type: ignore[arg-type]
        yield made


@contextmanager
def listener(greeting: bytes) -> Iterator[int]:
    """A port that greets everybody and hangs up."""
    with socket.create_server((HERE, 0)) as server:

        def greet() -> None:
            with contextlib.suppress(OSError):
                while True:
                    caller, _ = server.accept()
                    with caller:
                        caller.sendall(greeting)

        thread = threading.Thread(target=greet, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
    thread.join(PATIENCE)


@contextmanager
def closed() -> Iterator[int]:
    """A port that is bound and refuses: nobody else can listen there meanwhile."""
    with socket.socket() as taken:
        taken.bind((HERE, 0))
        yield taken.getsockname()[1]


def facts_of(home: World) -> VCenterFacts:
    with VCenter(home.settings(), owner="c0", ledger=Memory()) as vcenter:
        return vcenter.facts()


def hosts(home: World, ports: Ports) -> list[DoctorFinding]:
    seen = replace(facts_of(home), grants=())
    return list(judge(probes.after_login(home.server.url, seen, ports)))


def port_of(home: World) -> int:
    return int(home.server.url.split(":")[2].split("/")[0])


def test_a_host_that_greets_and_shows_its_certificate_passes(home: World) -> None:
    with listener(b"220 VMware Authentication Daemon Version 1.10: SSL Required\r\n") as nfc:
        assert hosts(home, Ports(nfc, port_of(home))) == []


def test_closed_doors_of_a_host_are_found(home: World) -> None:
    with closed() as port:
        found = {(one.check, one.bad) for one in hosts(home, Ports(port, port))}
    assert found == {("A6", True), ("A7", False)}


#: What a job reads with that does not choose -> whether a host's port 902 that is closed is a finding.
READERS = {
    "nfc alone": (ReaderSettings(preferred="nfc"), True),
    "vddk alone": (ReaderSettings(Path("/opt/vddk"), preferred="vddk"), True),
    "vddk over SAN": (ReaderSettings(Path("/opt/vddk"), "san:hotadd", preferred="vddk"), False),
    "https through vCenter": (ReaderSettings(preferred="https"), False),
    "any": (ReaderSettings(), True),
}


@pytest.mark.parametrize("readers", READERS)
def test_port_902_is_needed_by_readers_that_use_it(home: World, readers: str) -> None:
    settings, needed = READERS[readers]
    seen = replace(facts_of(home), grants=())
    with closed() as port:
        ports = Ports(port, port_of(home))
        found = list(judge(probes.after_login("vc", seen, ports, use=HostUse.of(settings))))
    assert {(one.check, one.bad) for one in found} == ({("A6", True)} if needed else set())
    assert all(("only the reader https is left" in one.what) is (readers == "any") for one in found)


@pytest.mark.parametrize("is_open", [True, False])
def test_disks_that_are_read_as_files_of_the_host_need_its_port(home: World, is_open: bool) -> None:
    """And no other: a closed port 443 says nothing then."""
    seen = replace(facts_of(home), grants=())
    with closed() as port:
        serves = port_of(home) if is_open else port
        use = HostUse.of(ReaderSettings(https=HttpsSettings(host_port=serves), preferred="https"))
        findings = list(judge(probes.after_login("vc", seen, Ports(port, port), use=use)))
    assert {(finding.check, finding.bad) for finding in findings} == (set() if is_open else {("A7", True)})


def test_a_proxy_that_accepts_everything_is_noticed(home: World) -> None:
    with listener(b"HTTP/1.0 400 Bad\r\n") as nfc:
        (found, *_) = hosts(home, Ports(nfc, port_of(home)))
    assert found.check == "A6" and not found.bad and "HTTP/1.0" in found.what


def test_a_host_with_another_certificate_than_vcenter_knows(home: World) -> None:
    seen = replace(facts_of(home), grants=())
    strange = replace(seen, hosts=tuple(replace(one, thumbprint="AA" * 20) for one in seen.hosts))
    with listener(b"220 hello\r\n") as nfc:
        found = list(judge(probes.after_login("vc", strange, Ports(nfc, port_of(home)))))
    assert {(one.check, one.bad) for one in found} == {("A7", True)}


def test_a_host_that_is_known_by_sha1_alone_is_a_finding_with_the_pin_to_write_down(home: World) -> None:
    seen, shown = replace(facts_of(home), grants=()), home.server.thumbprint_sha256.replace(":", "").lower()

    def judged(pins: NfcSettings | None) -> list[DoctorFinding]:
        return list(judge(probes.after_login("vc", seen, Ports(nfc, port_of(home)), pins)))

    with listener(b"220 VMware Authentication Daemon Version 1.10: SSL Required\r\n") as nfc:
        assert judged(None) == []
        finding = judged(NfcSettings())[0]
        assert (finding.check, finding.bad) == ("A13", False)
        assert shown in finding.what and "nfc.pins" in finding.remedy
        assert judged(NfcSettings(pins={HERE: home.server.thumbprint_sha256})) == []
        assert judged(NfcSettings(authority=Path("authority.pem"))) == []
        (wrong, *_) = judged(NfcSettings(pins={HERE: "AB" * 32}))
        assert (wrong.check, wrong.bad) == ("A13", True)


def test_a_name_that_leads_nowhere(home: World) -> None:
    with world(prepare=named("esx.invalid")) as lost:  # type: ignore[arg-type]
        found = hosts(lost, Ports())
    assert {(one.check, one.on) for one in found} == {("A1", "esx.invalid")}


def test_vcenter_is_looked_at_before_it_is_told_who_we_are(home: World) -> None:
    assert list(judge(probes.before_login(home.settings()))) == []
    other = "AB" * 32
    (found,) = judge(probes.before_login(home.settings(thumbprint=other)))
    assert found.check == "A3" and "AB:AB" in found.what
    with closed() as port:
        (found,) = judge(probes.before_login(home.settings(url=f"https://{HERE}:{port}")))
    assert found.check == "A2"
    with listener(b"not TLS at all\r\n") as port:
        (found,) = judge(probes.before_login(home.settings(url=f"https://{HERE}:{port}")))
    assert found.check == "A2"


def test_a_login_that_is_refused_is_a_finding_and_the_rest_is_looked_at(home: World, tmp_path: Path) -> None:
    from pydantic import SecretStr

    site = Site(home.settings(password=SecretStr("wrong")), None, tmp_path, None)
    with ExitStack() as unwind:
        seen = list(site.facts(unwind))
    assert "A4" in {one.check for one in judge(seen)}
    assert any(isinstance(one, SpaceFact) for one in seen)
    assert not any("wrong" in one.trouble for one in seen if isinstance(one, LoginFact))


def test_what_the_user_may_not_do_is_told_per_object(home: World) -> None:
    assert not any(one.missing for one in facts_of(home).grants)
    kinds = {one.on for one in facts_of(home).grants}
    assert kinds == {On.ROOT, On.MACHINE, On.DATASTORE}
    home.server.center.authority.deny("VirtualMachine.State.CreateSnapshot", home.vm)
    lacking = [one for one in facts_of(home).grants if one.missing]
    assert [(one.moref, one.missing) for one in lacking] == [
        (home.vm, ("VirtualMachine.State.CreateSnapshot",))
    ]
    assert [one.check for one in judge(lacking) if one.bad] == ["A8"]


def test_an_encrypted_machine_needs_the_right_to_its_keys() -> None:
    assert set(wanted(On.ENCRYPTED)) - set(wanted(On.MACHINE)) == {"Cryptographer.Access"}


def test_the_clock_is_compared_by_vcenters_own(home: World) -> None:
    assert abs(facts_of(home).skew) < 5


def test_a_vddk_is_loaded_and_held_against_every_version(home: World, tmp_path: Path) -> None:
    (found,) = probes.installation(tmp_path / "none", ("8.0.3",))
    assert isinstance(found, LibraryFact) and found.trouble
    install(tmp_path / "vddk", home.estate.export.root)
    fit = list(probes.installation(tmp_path / "vddk", ("8.0.3", "8.0.3")))
    assert [one.trouble for one in fit if isinstance(one, LibraryFact)] == [""]
    unfit = list(probes.installation(tmp_path / "vddk", ("8.0.3", "5.5.0")))
    assert [one.check for one in judge(unfit)] == ["A9"]


def test_a_directory_that_is_not_there_yet_has_the_room_of_the_one_above(tmp_path: Path) -> None:
    here = probes.room(FactKind.STATE, tmp_path / "a" / "b")
    assert here.free > 0 and not here.trouble
    nowhere = probes.room(FactKind.STATE, Path("/proc/self/nowhere"))
    assert [one.check for one in judge([nowhere])] == ["A10"]


def test_ports_of_an_instance() -> None:
    with listener(b"") as one, closed() as other:
        found = list(judge(probes.instance(HERE, Ports(instance=(one, other)))))
        assert [(verdict.check, verdict.on) for verdict in found] == [("A12", f"{HERE}:{other}")]
        assert not list(judge(probes.instance(f"{HERE}:{one}")))
    (found_name,) = judge(probes.instance("instance.invalid"))
    assert found_name.check == "A1"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("host", ("host", None)),
        ("host:8703", ("host", 8703)),
        ("fe80::1", ("fe80::1", None)),
        ("[fe80::1]", ("fe80::1", None)),
        ("[fe80::1%eth0]:8080", ("fe80::1%eth0", 8080)),
        ("192.0.2.7:1", ("192.0.2.7", 1)),
    ],
)
def test_the_address_of_an_instance(text: str, meant: tuple[str, int | None]) -> None:
    assert probes.instance_address(text) == meant


@pytest.mark.parametrize(
    "text",
    [
        "",
        "host:abc",
        "host:99999",
        "host:0",
        "host:",
        "[fe80::1",
        "fe80::1]",
        "https://host",
        "a@b",
        "a/b",
        "[x]:1",
        "a b",
    ],
)
def test_what_is_no_address_of_an_instance_is_bad_input(text: str) -> None:
    with pytest.raises(BadInput, match=r"write HOST, HOST:PORT or \[IPV6\]:PORT"):
        probes.instance_address(text)


def test_thumbprints_are_compared_in_the_spelling_that_was_given(home: World) -> None:
    spelled = home.server.thumbprint.replace(":", " ").lower()
    facts = list(probes.before_login(home.settings(thumbprint=spelled)))
    (shown,) = [one for one in facts if isinstance(one, CertificateFact)]
    assert shown.given == shown.seen == home.server.thumbprint
