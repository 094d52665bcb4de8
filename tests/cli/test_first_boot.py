"""What the first boot of an appliance's image understands: vCenter's answers, and the network that a person types.

`tests/deploy/test_image.py` starts the image itself.
"""

from __future__ import annotations

import ipaddress
import os
import pty
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from xml.sax.saxutils import quoteattr

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.cli import first_boot, ovf_properties
from connector.cli.network_setup import NetworkSettings
from connector.cli.ovf_properties import PROPERTIES
from connector.cli.service_setup import CODE, PASSWORD, ServiceSetup
from connector.errors import BadInput
from deploy import image

PAGE = Path(__file__).parents[2] / "docs" / "install.md"
#: As vCenter 7 writes it, with its own prefix and sections.
ENVIRONMENT = """<?xml version="1.0" encoding="UTF-8"?>
<Environment
     xmlns="http://schemas.dmtf.org/ovf/environment/1"
     xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
     xmlns:oe="http://schemas.dmtf.org/ovf/environment/1"
     xmlns:ve="http://www.vmware.com/schema/ovfenv"
     oe:id=""
     ve:vCenterId="vm-1017">
   <PlatformSection>
      <Kind>VMware ESXi</Kind>
      <Version>7.0.3</Version>
   </PlatformSection>
   <PropertySection>
{}   </PropertySection>
   <ve:EthernetAdapterSection>
      <ve:Adapter ve:mac="00:50:56:9a:00:01" ve:network="VM Network" ve:unitNumber="7"/>
   </ve:EthernetAdapterSection>
</Environment>
"""


def environment(**typed: str) -> bytes:
    lines = (
        f"<Property oe:key={quoteattr(key)} oe:value={quoteattr(value)}/>\n" for key, value in typed.items()
    )
    return ENVIRONMENT.format("".join(lines)).encode()


def test_what_was_typed_in_vcenter_is_taken_and_what_was_left_empty_is_not() -> None:
    document = environment(
        **{
            "connector.user": " me@vsphere.local ",
            "connector.gateway": "",
            "connector.other": "x",
            "vm.user": "x",
        }
    )
    assert ovf_properties.answers(document) == {"user": "me@vsphere.local"}


def test_a_password_with_every_character_that_xml_escapes_arrives() -> None:
    assert ovf_properties.answers(environment(**{"connector.vcenter_password": "a<b>&\"'c"})) == {
        "vcenter_password": "a<b>&\"'c"
    }


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"\0" * 64,
        b"<Environment>",
        b'<!DOCTYPE a [<!ENTITY b "c">]><Environment>&b;</Environment>',
        b"<a>" + b" " * (1 << 20) + b"</a>",
        '<!DOCTYPE a [<!ENTITY b "c">]><Environment>&b;</Environment>'.encode("utf-16"),
        b'<?xml version="1.0" encoding="big5"?><Environment/>\xff',
    ],
    ids=["empty", "zeros", "cut", "entities", "large", "entities in UTF-16", "another encoding"],
)
def test_what_vcenter_never_writes_is_one_line(document: bytes) -> None:
    with pytest.raises(BadInput, match=r"ovf-env\.xml: is no .*console"):
        ovf_properties.answers(document)


def test_what_the_document_says_about_its_encoding_means_nothing() -> None:
    """Otherwise it could be one in which a document type has other bytes."""
    document = environment(**{"connector.user": "m\u00e9"}).replace(b'"UTF-8"', b'"big5"')
    assert ovf_properties.answers(document) == {"user": "m\u00e9"}


@given(st.binary(max_size=300))
def test_no_bytes_do_more_than_be_refused(document: bytes) -> None:
    with suppress(BadInput):
        ovf_properties.answers(document)


def test_dhcp_is_the_network_of_whoever_types_nothing() -> None:
    files = NetworkSettings.of({}).files()
    assert files["etc/systemd/network/10-connector.network"] == "[Match]\nType=ether\n\n[Network]\nDHCP=yes\n"
    assert files["etc/hostname"] == "connector\n"
    assert set(files) == {"etc/systemd/network/10-connector.network", "etc/hostname", "etc/hosts"}


def test_a_fixed_address_has_gateway_name_servers_and_time(tmp_path: Path) -> None:
    typed = {
        "address": "192.0.2.10/24",
        "gateway": "192.0.2.1",
        "name_servers": "192.0.2.2, 192.0.2.3",
        "time_servers": "ntp.example.com 192.0.2.4",
        "host_name": "Edge-1.example.com",
    }
    NetworkSettings.of(typed).write(tmp_path)
    network = (tmp_path / "etc/systemd/network/10-connector.network").read_text().partition("[Network]\n")[2]
    servers = ["DNS=192.0.2.2", "DNS=192.0.2.3"]
    assert sorted(network.splitlines()) == ["Address=192.0.2.10/24", *servers, "Gateway=192.0.2.1"]
    time = (tmp_path / "etc/systemd/timesyncd.conf.d/connector.conf").read_text()
    assert "NTP=ntp.example.com 192.0.2.4" in time
    assert "127.0.1.1 edge-1.example.com edge-1\n" in (tmp_path / "etc/hosts").read_text()
    NetworkSettings.of({}).write(tmp_path)
    assert not (tmp_path / "etc/systemd/timesyncd.conf.d/connector.conf").exists()


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ({"address": "192.0.2.10"}, "no prefix length"),
        ({"address": "192.0.2.10/32"}, "no prefix length"),
        ({"address": "192.0.2.300/24"}, "no address"),
        ({"address": "192.0.2.10/24", "gateway": "198.51.100.1"}, "not in the network 192.0.2.0/24"),
        ({"name_servers": "192.0.2.1 dns.example.com"}, "name server 'dns.example.com': is no address"),
        ({"host_name": "edge 1"}, "no name of a computer"),
        ({"host_name": "edge\n[Network]"}, "no name of a computer"),
        ({"time_servers": "-x"}, "no name of a computer"),
        ({"host_name": f"{'a' * 40}.{'b' * 40}"}, "no name of a computer"),  # Linux takes 64 characters
        ({"host_name": "\u017fedge"}, "no name of a computer"),
        ({"address": "fe80::5%\nDHCP=yes/64"}, "no address"),
        ({"address": "fe80::5/64", "gateway": "fe80::1%\nDHCP=yes"}, "no address"),
        ({"name_servers": "fe80::1%\0"}, "no address"),
    ],
)
def test_a_typing_error_is_one_line(typed: dict[str, str], why: str) -> None:
    with pytest.raises(BadInput, match=why):
        NetworkSettings.of(typed)


@given(st.dictionaries(st.sampled_from([entry.key for entry in PROPERTIES]), st.text(max_size=40)))
def test_whatever_is_typed_no_file_gets_a_line_that_nobody_meant(typed: dict[str, str]) -> None:
    try:
        files = NetworkSettings.of(typed).files()
    except BadInput:
        return
    for text in files.values():
        assert all(line.isprintable() for line in text.splitlines())
    keys = {line.partition("=")[0] for line in files["etc/systemd/network/10-connector.network"].splitlines()}
    assert keys <= {"[Match]", "Type", "", "[Network]", "DHCP", "Address", "Gateway", "DNS"}


def test_an_ipv6_router_is_reached_by_its_link_local_address() -> None:
    files = NetworkSettings.of({"address": "2001:db8::10/64", "gateway": "fe80::1"}).files()
    assert "Gateway=fe80::1\n" in files["etc/systemd/network/10-connector.network"]
    with pytest.raises(BadInput, match="not in the network"):
        NetworkSettings.of({"address": "192.0.2.10/24", "gateway": "fe80::1"})


@given(st.ip_addresses(v=4), st.integers(0, 31))
def test_every_address_with_a_prefix_is_taken(address: ipaddress.IPv4Address, prefix: int) -> None:
    assert NetworkSettings.of({"address": f"{address}/{prefix}"}).address == f"{address}/{prefix}"


def test_secrets_are_for_root_alone_and_what_is_kept_is_not_asked_for(tmp_path: Path) -> None:
    def nobody(question: str) -> str:
        raise AssertionError(question)

    setup = ServiceSetup(tmp_path)
    file = tmp_path / "code"
    file.write_text("c-1\r\n")
    setup.take(CODE, str(file), "Activation code", nobody)
    setup.take(PASSWORD, None, "Password", lambda _: "p w")
    setup.take(PASSWORD, None, "Password", nobody)
    assert setup.secret(CODE).read_text() == "c-1\n" and setup.secret(PASSWORD).read_text() == "p w\n"
    assert {oct(setup.secret(name).stat().st_mode & 0o777) for name in (CODE, PASSWORD)} == {"0o600"}
    assert setup.secret(CODE).parent.stat().st_mode & 0o77 == 0
    with pytest.raises(BadInput, match="cannot be read"):
        setup.take(CODE, str(tmp_path / "no"), "Activation code", nobody)


def test_a_service_needs_root_and_systemd(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"systemd does not run here|set up by root"):
        ServiceSetup(tmp_path).check()


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the programs that would change this computer were told; they are ours."""
    folder, said = tmp_path / "bin", tmp_path / "told"
    folder.mkdir()
    said.touch()
    for name in ("chpasswd", "passwd", "systemctl"):
        (folder / name).write_text(
            f'#!/bin/sh\necho "{name} $*" >>{said}\n[ {name} != chpasswd ] || cat >>{said}\n'
        )
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return said


def test_a_password_of_the_console_is_one_line_of_one_user(told: Path) -> None:
    """chpasswd takes a line for each user."""
    with pytest.raises(BadInput, match="the end of a line"):
        first_boot._set_console_password("secret\ndaemon:x")
    assert told.read_text() == ""
    first_boot._set_console_password("a:b c")
    assert told.read_text() == "chpasswd \nroot:a:b c\n"


def test_who_sets_no_password_leaves_none_of_an_earlier_attempt(told: Path) -> None:
    first_boot._set_console_password("")
    assert told.read_text() == "passwd --quiet --lock root\n"


@pytest.mark.parametrize("key", ["vcenter_password", "activation_code"])
def test_a_secret_that_no_server_gets_is_not_kept(key: str, tmp_path: Path, told: Path) -> None:
    """One that is kept is not asked for: the console would fail with it for ever."""
    setup = ServiceSetup(tmp_path)
    with pytest.raises(BadInput, match="the end of a line"):
        first_boot._configure(setup, {key: "a\nb"})
    assert not any(setup.secret(name).exists() for name in (PASSWORD, CODE))
    assert told.read_text() == ""


def test_a_start_that_somebody_interrupts_is_asked_for_again(tmp_path: Path, told: Path) -> None:
    setup = ServiceSetup(tmp_path)
    setup.configuration.parent.mkdir(parents=True)
    with pytest.raises(click.Abort), first_boot._discarded_unless_started(setup):
        setup.keep(CODE, "c-1")
        setup.configuration.write_text("name: a\n")
        raise click.Abort
    assert not setup.configuration.exists() and not setup.secret(CODE).exists()
    assert "disable --now connector-appliance.service" in told.read_text()
    with pytest.raises(BadInput), first_boot._discarded_unless_started(setup):
        setup.keep(CODE, "c-1")
        raise BadInput("the login failed")
    assert setup.secret(CODE).exists()


def test_a_power_failure_during_the_start_is_asked_for_again(tmp_path: Path, told: Path) -> None:
    """The machine dies inside of the block: nothing after it runs. The unit's condition names the same file."""
    setup = ServiceSetup(tmp_path)
    setup.configuration.parent.mkdir(parents=True)
    inside = first_boot._discarded_unless_started(setup)
    inside.__enter__()
    setup.configuration.write_text("name: a\n")
    assert not setup.is_configured
    unit = Path(image.__file__).with_name("connector-first-boot@.service").read_text()
    assert f"ConditionPathExists=|/{setup.begun.relative_to(tmp_path)}\n" in unit
    first_boot._discard_unfinished(setup)
    assert not setup.configuration.exists()
    with first_boot._discarded_unless_started(setup):
        setup.configuration.write_text("name: a\n")
    assert setup.is_configured and not setup.begun.exists()
    first_boot._discard_unfinished(setup)
    assert setup.is_configured


def test_a_console_that_is_gone_ends_the_questions(tmp_path: Path) -> None:
    """Ctrl-backslash does not."""
    ours, theirs = pty.openpty()
    program = (
        "from pathlib import Path; from connector.cli import first_boot\n"
        "first_boot._ask_until_configured(first_boot.ServiceSetup(Path.cwd()))"
    )
    words = [sys.executable, "-c", program]
    with subprocess.Popen(
        words, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, cwd=tmp_path
    ) as process:
        os.close(theirs)
        shown = b""
        while b"not configured" not in shown:
            shown += os.read(ours, 1024)
        process.send_signal(signal.SIGQUIT)
        os.close(ours)
        try:
            errors = process.communicate(timeout=30)[1]
        finally:
            process.kill()
    assert process.returncode == 1 and b"there is no terminal to ask on" in errors


def test_ctrl_c_while_the_network_is_waited_for_leaves_the_questions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: NetworkSettings) -> None:
        raise KeyboardInterrupt

    document = tmp_path / "ovf-env.xml"
    document.write_bytes(environment(**{"connector.user": "u"}))
    monkeypatch.setattr(first_boot, "_set_network", interrupted)
    first_boot._unattended(ServiceSetup(tmp_path), document)


def test_a_computer_that_shuts_down_is_not_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`connector` ignores SIGTERM once it has seen one."""

    def ended(*_: object, **__: object) -> str:
        raise click.Abort

    monkeypatch.setattr(click, "prompt", ended)
    first_boot._attended(ServiceSetup(tmp_path))
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with pytest.raises(click.Abort):
            first_boot._attended(ServiceSetup(tmp_path))
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.generated
def test_the_page_lists_the_questions() -> None:
    rows = [f"| {entry.category} | {entry.label} | {entry.description} |" for entry in PROPERTIES]
    table = "\n".join(["| group | question | answer |", "|---|---|---|", *rows])
    page = PAGE.read_text()
    before, rest = page.split("<!-- properties -->\n", 1)
    after = rest.split("<!-- /properties -->", 1)[1]
    written = f"{before}<!-- properties -->\n{table}\n<!-- /properties -->{after}"
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(written)
    assert PAGE.read_text() == written
