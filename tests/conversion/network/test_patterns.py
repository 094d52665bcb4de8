"""Settings that fit cards by a pattern or by their type: with one card they are its own, with several a note says so."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from connector.conversion.network.cards import fits_some_card
from tests.conversion.network.guest import ONE, TWO, after, changed, guest, planned

NETPLAN = "/etc/netplan/50-all.yaml"
NETWORKD = "/etc/systemd/network/10-all.network"
KEYFILE = "/etc/NetworkManager/system-connections/Wired.nmconnection"
FILES = {
    "netplan": (
        NETPLAN,
        "network:\n  ethernets:\n    all:\n      match:\n        name: en*\n      addresses: [10.0.0.5/24]\n",
        "dhcp4: true",
    ),
    "networkd by name": (
        NETWORKD,
        "[Match]\nName=e*\n\n[Network]\nAddress=10.0.0.5/24\nGateway=10.0.0.1\n",
        "DHCP=yes",
    ),
    "networkd by type": (NETWORKD, "[Match]\nType=ether\n\n[Network]\nAddress=10.0.0.5/24\n", "DHCP=yes"),
    "NetworkManager": (
        KEYFILE,
        "[connection]\nid=Wired\ntype=ethernet\n\n[ipv4]\nmethod=manual\naddress1=10.0.0.5/24,10.0.0.1\n",
        "method=auto",
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_the_only_card_asks_dhcp(case: str) -> None:
    path, text, expected = FILES[case]
    source = guest({path: text})
    result = planned(source, "dhcp", cards=ONE)
    new = changed(result)[path]
    assert new is not None
    assert expected in new
    assert "10.0.0.5" not in new
    assert changed(planned(after(source, result.plan), "dhcp", cards=ONE)) == {}


@pytest.mark.parametrize("case", FILES)
def test_with_several_cards_a_note_says_what_was_kept(case: str) -> None:
    path, text, _ = FILES[case]
    result = planned({path: text}, "dhcp", cards=TWO)
    assert path not in changed(result)
    assert [note for note in result.plan.notes if path in note and "any card" in note], result.plan.notes


@pytest.mark.parametrize("case", FILES)
def test_addresses_that_stay_are_not_touched(case: str) -> None:
    path, text, _ = FILES[case]
    assert path not in changed(planned({path: text}, "keep", cards=ONE))


@pytest.mark.parametrize("match", ["Name=veth*", "Name=docker0", "Type=bridge", "Name=wl*"])
def test_a_pattern_of_other_devices_is_not_the_cards(match: str) -> None:
    text = f"[Match]\n{match}\n\n[Network]\nAddress=172.17.0.1/16\n"
    for cards in (ONE, TWO):
        result = planned({NETWORKD: text}, "dhcp", cards=cards)
        assert changed(result) == {}
        assert not [note for note in result.plan.notes if PurePosixPath(NETWORKD).name in note]


def test_the_first_file_that_fits_a_card_is_its_own_by_a_pattern_too() -> None:
    files = {
        NETWORKD: "[Match]\nName=en*\n\n[Network]\nAddress=10.0.0.5/24\n",
        "/etc/systemd/network/20-ens192.network": "[Match]\nName=ens192\n\n[Network]\nAddress=10.0.0.6/24\n",
    }
    new = changed(planned(files, "dhcp", cards=ONE))
    assert "DHCP=yes" in str(new[NETWORKD])
    assert "/etc/systemd/network/20-ens192.network" not in new


def test_a_plain_name_is_no_pattern() -> None:
    assert [
        word for word in ("en*", "e?h0", "*", "[e]*", "ens192", "veth*", "lo") if fits_some_card(word)
    ] == [
        "en*",
        "e?h0",
        "*",
        "[e]*",
    ]
