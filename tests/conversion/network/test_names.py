"""Which card has which name, and how it keeps it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

import pytest

from connector.conversion.network.cards import Card, NameClaim, assign, path_names, slot_names
from tests.conversion.network.guest import MAC, ONE, SECOND_MAC, TWO, after, changed, guest, planned
from tests.conversion.network.guest import RULES as OWN_RULES

INTERFACES: Final = "/etc/network/interfaces"
RULES: Final = "/etc/udev/rules.d/70-persistent-net.rules"


def rule(mac: str, name: str) -> str:
    """As udev's generator wrote it."""
    return (
        f'SUBSYSTEM=="net", ACTION=="add", DRIVERS=="?*", ATTR{{address}}=="{mac}", ATTR{{type}}=="1", '
        f'KERNEL=="eth*", NAME="{name}"\n'
    )


def named(*names: str, cards: int, kernel_names: bool = False, slots: tuple[int, ...] = ()) -> dict[int, str]:
    machine = [Card(n, f"00:50:56:00:00:{n:02x}", slots[n] if slots else None) for n in range(cards)]
    claims = [NameClaim(name) for name in names]
    naming = assign(claims, machine, keeps_macs=False, kernel_names=kernel_names, note=lambda text: None)
    return {card.card.order: card.name for card in naming.cards}


@pytest.mark.parametrize(
    ("names", "order"),
    [
        ("ens224 ens192", "ens192 ens224"),
        ("ens256 ens161 ens160 ens193 ens192 ens224", "ens160 ens192 ens224 ens256 ens161 ens193"),
        ("enp4s0 enp19s0 enp11s0 enp3s0", "enp3s0 enp11s0 enp19s0 enp4s0"),
        ("ens34 ens33", "ens33 ens34"),
        ("eno33557248 eno16777984", "eno16777984 eno33557248"),
        ("eth1 eth0", "eth0 eth1"),
    ],
)
def test_names_follow_the_slots_of_vmware(names: str, order: str) -> None:
    words = names.split()
    assert list(named(*words, cards=len(words)).values()) == order.split()


def test_a_slot_decides() -> None:
    assert named("ens224", cards=2, slots=(192, 224)) == {1: "ens224"}
    assert named("ens161", "ens192", cards=2, slots=(1184, 192)) == {0: "ens161", 1: "ens192"}


def test_slots_have_names() -> None:
    """Names that systemd shows for these slots of VMware."""
    known = {160: "enp3s0", 192: "enp11s0", 224: "enp19s0", 256: "enp27s0", 1184: "enp4s0", 33: "enp2s1"}
    assert {slot: slot_names(slot)[1] for slot in known} == known
    assert slot_names(1184)[0] == "ens161"
    assert path_names("pci-0000:0b:00.0") == {"ens192", "enp11s0"}
    assert path_names("pci-0000:02:01.0") == {"ens33", "enp2s1"}


def test_names_of_the_kernel_count_where_the_kernel_names() -> None:
    assert named("eth0", "ens192", cards=1) == {0: "ens192"}
    assert named("eth0", "ens192", cards=1, kernel_names=True) == {0: "eth0"}
    assert named("eth1", cards=2, kernel_names=True) == {1: "eth1"}


def test_several_cards_are_named_by_their_place_on_the_bus(tmp_path: Path) -> None:
    """The rule's program is run here, on devices as the kernel shows them."""
    source = guest({INTERFACES: "iface ens224 inet dhcp\niface ens192 inet dhcp\n"})
    result = planned(source, cards=TWO)
    rules = (changed(result)[OWN_RULES] or "").splitlines()
    assert [r.rpartition(", ")[2] for r in rules[1:]] == ['NAME="ens192"', 'NAME="ens224"']
    assert any("only the order of the names" in note for note in result.plan.notes)
    assert [change.path for change in result.initramfs_files] == [OWN_RULES]
    for place, kind in (("0", "060000"), ("1", "010000"), ("3", "020000"), ("5", "020000"), ("6", "00ff00")):
        device = tmp_path / f"0000:00:0{place}.0"
        device.mkdir()
        (device / "class").write_text(f"0x{kind}\n")
    for rank, place in enumerate("35"):
        script = (
            rules[1 + rank]
            .partition("-c '")[2]
            .partition("'\"")[0]
            .replace("/sys/bus/pci/devices", str(tmp_path))
        )
        script = script.replace("$id", f"0000:00:0{place}.0").replace("$$", "$")
        answer = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True)
        assert answer.stdout == f"{rank}\n"
        assert f'RESULT=="{rank}"' in rules[1 + rank]


def test_a_mac_that_stays_names_the_card() -> None:
    text = changed(planned({INTERFACES: "iface ens192 inet dhcp\n"}, keeps_macs=True))
    assert (text[OWN_RULES] or "").endswith(f'DRIVERS=="?*", ATTR{{address}}=="{MAC}", NAME="ens192"\n')


@pytest.mark.parametrize(
    "files",
    [
        {},
        {INTERFACES: "auto lo\niface lo inet loopback\n"},
        {"/etc/netplan/90-all.yaml": "network:\n  ethernets:\n    all-en:\n      match: {name: 'en*'}\n      dhcp4: true\n"},
        {"/etc/NetworkManager/system-connections/any": "[connection]\ntype=ethernet\n\n[ipv4]\nmethod=auto\n"},
        {"/etc/systemd/network/any.network": "[Match]\nName=en*\n\n[Network]\nDHCP=yes\n"},
    ],
)  # fmt: skip
def test_nothing_needed_means_nothing_done(files: dict[str, str]) -> None:
    for mode in ("keep", "dhcp"):
        assert changed(planned(files, mode)) == {}


def test_names_of_the_kernel_need_nothing() -> None:
    files = {INTERFACES: "iface eth0 inet dhcp\n"}
    lines = ["ro quiet net.ifnames=0 biosdevname=0", "ro single net.ifnames=0"]
    assert changed(planned(files, command_lines=lines)) == {}
    assert changed(planned(guest(files, systemd=False))) == {}
    assert changed(planned({**files, "/etc/systemd/network/99-default.link": ""})) == {}
    assert changed(planned({**files, "/etc/udev/rules.d/80-net-setup-link.rules": ""})) == {}
    assert changed(planned(files, command_lines=[*lines, "ro quiet"])) != {}


def test_a_persistent_rule_decides_and_goes() -> None:
    """RHEL 6 made from a template: eth0 is the template's card. The rule for this machine's card becomes one by place."""
    text = f"# PCI device 0x15ad:0x07b0 (vmxnet3)\n{rule('00:50:56:00:00:99', 'eth0')}\n{rule(MAC, 'eth1')}"
    result = changed(planned(guest({RULES: text}, systemd=False)))
    assert result[RULES] == f"# PCI device 0x15ad:0x07b0 (vmxnet3)\n{rule('00:50:56:00:00:99', 'eth0')}\n"
    assert (result[OWN_RULES] or "").endswith('NAME="eth1"\n')


def test_a_persistent_rule_for_the_name_that_the_kernel_gives_only_goes() -> None:
    assert changed(planned(guest({RULES: rule(MAC, "eth0")}, systemd=False))) == {RULES: ""}
    assert changed(planned(guest({RULES: rule(MAC, "eth0")}, systemd=False), keeps_macs=True)) == {}


def test_a_link_file_of_the_guest_keeps_its_settings() -> None:
    path = "/etc/systemd/network/10-lan.link"
    text = f"[Match]\nMACAddress={MAC}\n\n[Link]\nName=lan0\nMTUBytes=9000\n"
    expected = "[Match]\nOriginalName=eth0\n\n[Link]\nName=lan0\nMTUBytes=9000\n"
    by_mac = changed(planned({path: text}))
    assert by_mac[path] == expected
    assert (by_mac[OWN_RULES] or "").endswith('NAME="lan0"\n')
    by_place = changed(planned({path: text.replace(f"MACAddress={MAC}", "Path=pci-0000:0b:00.0")}))
    assert (by_place[path], by_place[OWN_RULES]) == (expected, by_mac[OWN_RULES])
    assert changed(planned({path: text}, keeps_macs=True)) == {}
    two = changed(planned({path: text}, cards=TWO))
    assert two.keys() == {path, OWN_RULES}


def test_macs_decide_against_the_order() -> None:
    files = {
        "/etc/sysconfig/network-scripts/ifcfg-ens192": f"DEVICE=ens192\nHWADDR={SECOND_MAC}\nBOOTPROTO=dhcp\n",
        "/etc/sysconfig/network-scripts/ifcfg-ens224": f"DEVICE=ens224\nHWADDR={MAC}\nBOOTPROTO=static\nIPADDR=192.0.2.4\n",
    }
    result = changed(planned(files, "dhcp", cards=TWO))
    rules = (result[OWN_RULES] or "").splitlines()
    assert ['RESULT=="0", NAME="ens224"' in rules[1], 'RESULT=="1", NAME="ens192"' in rules[2]] == [
        True,
        True,
    ]
    assert result["/etc/sysconfig/network-scripts/ifcfg-ens224"] == "DEVICE=ens224\nBOOTPROTO=dhcp\n"


def test_a_card_that_is_known_by_its_mac_only_gets_a_name() -> None:
    path = "/etc/NetworkManager/system-connections/lan.nmconnection"
    text = f"[connection]\ntype=ethernet\n\n[ethernet]\nmac-address={MAC}\n"
    result = changed(planned({path: text}))
    assert result[path] == "[connection]\ninterface-name=net0\ntype=ethernet\n\n[ethernet]\n"
    assert (result[OWN_RULES] or "").endswith('NAME="net0"\n')
    with_slot = changed(planned({path: text}, cards=(Card(0, MAC, 192),)))
    assert (with_slot[OWN_RULES] or "").endswith('NAME="ens192"\n')


def test_planning_again_gives_nothing() -> None:
    for cards in (ONE, TWO):
        for files in (
            {INTERFACES: "iface ens192 inet dhcp\niface ens224 inet dhcp\n"},
            {RULES: rule(MAC, "eth1")},
        ):
            source = guest(files)
            first = after(source, planned(source, cards=cards).plan)
            assert changed(planned(first, cards=cards)) == {}


@pytest.mark.parametrize(
    "match", ['KERNELS=="0000:0b:00.0"', 'ENV{ID_PATH}=="pci-0000:0b:00.0"', 'DRIVERS=="vmxnet3"']
)
def test_a_rule_for_a_place_becomes_one_for_the_place_on_the_target(match: str) -> None:
    text = f'SUBSYSTEM=="net", ACTION=="add", {match}, NAME="lan0"\n'
    result = changed(planned({RULES: text}, keeps_macs=True))
    assert result[RULES] == ""
    assert (result[OWN_RULES] or "").endswith(f'ATTR{{address}}=="{MAC}", NAME="lan0"\n')
    by_kernel = {RULES: 'SUBSYSTEM=="net", KERNEL=="eth0", NAME="lan0"\n'}
    assert changed(planned(by_kernel)) == {}
