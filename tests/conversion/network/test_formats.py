"""Each format's files, as installers write them, and what becomes of them in each mode."""

from __future__ import annotations

from typing import Final

import pytest

from tests.conversion.network.guest import MAC, ONE, RULES, TWO, after, changed, guest, planned

DEBIAN: Final = """\
# This file describes the network interfaces available on your system
# and how to activate them. For more information, see interfaces(5).

source /etc/network/interfaces.d/*

# The loopback network interface
auto lo
iface lo inet loopback

# The primary network interface
allow-hotplug ens192
iface ens192 inet static
\taddress 192.0.2.10/24
\tgateway 192.0.2.1
\t# dns-* options are implemented by the resolvconf package, if installed
\tdns-nameservers 192.0.2.53
\tdns-search example.com
\tpost-up /usr/local/bin/firewall up
iface ens192 inet6 static
\taddress 2001:db8::10
\tnetmask 64
\tgateway 2001:db8::1
\taccept_ra 0
"""
DEBIAN_DHCP: Final = """\
# This file describes the network interfaces available on your system
# and how to activate them. For more information, see interfaces(5).

source /etc/network/interfaces.d/*

# The loopback network interface
auto lo
iface lo inet loopback

# The primary network interface
allow-hotplug ens192
iface ens192 inet dhcp
\t# dns-* options are implemented by the resolvconf package, if installed
\tpost-up /usr/local/bin/firewall up
iface ens192 inet6 auto
"""

UBUNTU: Final = """\
# This is the network config written by 'subiquity'
network:
  ethernets:
    ens192:
      addresses:
      - 192.0.2.10/24
      # the router of the rack
      routes:
      - to: default
        via: 192.0.2.1
      nameservers:
        addresses: [192.0.2.53]
        search:
        - example.com
      mtu: 1400 # as everywhere

    # storage
    ens224:
      dhcp4: false
      addresses: [198.51.100.7/24]
  version: 2
"""
UBUNTU_DHCP: Final = """\
# This is the network config written by 'subiquity'
network:
  ethernets:
    ens192:
      dhcp4: true
      # the router of the rack
      mtu: 1400 # as everywhere

    # storage
    ens224:
      dhcp4: false
      addresses: [198.51.100.7/24]
  version: 2
"""
CLOUD_INIT: Final = f"""\
network:
    ethernets:
        ens192:
            addresses:
            - 192.0.2.10/24
            gateway4: 192.0.2.1
            dhcp4: false
            match:
                macaddress: {MAC}
            nameservers:
                addresses:
                - 192.0.2.53
            set-name: ens192
    version: 2
"""

KEYFILE: Final = """\
[connection]
id=ens192
uuid=8f5e9f2c-4f3b-3c0f-9c6d-0a3b7c1d2e4f
type=ethernet
autoconnect-priority=-999
interface-name=ens192
timestamp=1700000000

[ethernet]
{pin}
[ipv4]
address1=192.0.2.10/24,192.0.2.1
dns=192.0.2.53;
dns-search=example.com;
may-fail=false
method={method}
route1=198.51.100.0/24,192.0.2.254
route1_options=table=7

[ipv6]
addr-gen-mode=eui64
method=auto

[proxy]
"""
KEYFILE_DHCP: Final = """\
[connection]
id=ens192
uuid=8f5e9f2c-4f3b-3c0f-9c6d-0a3b7c1d2e4f
type=ethernet
autoconnect-priority=-999
interface-name=ens192
timestamp=1700000000

[ethernet]

[ipv4]
may-fail=false
method=auto

[ipv6]
addr-gen-mode=eui64
method=auto

[proxy]
"""

RHEL_7: Final = f"""\
TYPE="Ethernet"
PROXY_METHOD="none"
BOOTPROTO="none"
DEFROUTE="yes"
IPV4_FAILURE_FATAL="no"
IPV6INIT="yes"
IPV6_AUTOCONF="no"
IPV6ADDR="2001:db8::10/64"
IPV6_DEFAULTGW="2001:db8::1"
NAME="ens192"
UUID="5d7b1d5a-8a8e-4f0d-9d3a-1c2b3a4d5e6f"
HWADDR="{MAC.upper()}"
DEVICE="ens192"
ONBOOT="yes"
IPADDR="192.0.2.10"
PREFIX="24"
GATEWAY="192.0.2.1"
DNS1="192.0.2.53"
DOMAIN="example.com"
"""
RHEL_7_DHCP: Final = """\
TYPE="Ethernet"
PROXY_METHOD="none"
BOOTPROTO="dhcp"
DEFROUTE="yes"
IPV4_FAILURE_FATAL="no"
IPV6INIT="yes"
IPV6_AUTOCONF="yes"
NAME="ens192"
UUID="5d7b1d5a-8a8e-4f0d-9d3a-1c2b3a4d5e6f"
DEVICE="ens192"
ONBOOT="yes"
"""

SLES: Final = """\
BOOTPROTO='static'
BROADCAST=''
ETHTOOL_OPTIONS=''
IPADDR='192.0.2.10/24'
MTU=''
NAME='VMXNET3 Ethernet Controller'
NETMASK=''
NETWORK=''
REMOTE_IPADDR=''
STARTMODE='auto'
ZONE=public
"""
SLES_DHCP: Final = """\
BOOTPROTO='dhcp'
ETHTOOL_OPTIONS=''
MTU=''
NAME='VMXNET3 Ethernet Controller'
STARTMODE='auto'
ZONE=public
"""

NETWORKD: Final = """\
# the only card
[Match]
{match}

[Network]
DHCP=no
Address=192.0.2.10/24
Gateway=192.0.2.1
DNS=192.0.2.53
LinkLocalAddressing=ipv6

[Route]
# to the old site
Destination=198.51.100.0/24
Gateway=192.0.2.254

[Link]
MTUBytes=1400
"""
NETWORKD_DHCP: Final = """\
# the only card
[Match]
Name=ens192

[Network]
DHCP=yes
LinkLocalAddressing=ipv6

# to the old site

[Link]
MTUBytes=1400
"""

INTERFACES: Final = "/etc/network/interfaces"
NETPLAN: Final = "/etc/netplan/00-installer-config.yaml"
CONNECTION: Final = "/etc/NetworkManager/system-connections/ens192.nmconnection"
IFCFG: Final = "/etc/sysconfig/network-scripts/ifcfg-ens192"
SUSE: Final = "/etc/sysconfig/network/ifcfg-ens192"
NETWORK: Final = "/etc/systemd/network/10-static.network"
OF_SUSE: Final = {"/etc/os-release": 'ID="sles"\nID_LIKE="suse"\n'}
STATIC_KEYFILE: Final = KEYFILE.format(pin="", method="manual")
PINNED_KEYFILE: Final = KEYFILE.format(pin=f"mac-address={MAC.upper()}\n", method="manual")


def pinned_by(match: str) -> str:
    return NETWORKD.format(match=match)


#: A file, its text, its text in the mode keep, and in the mode dhcp.
TABLE: Final = {
    "debian": (INTERFACES, DEBIAN, DEBIAN, DEBIAN_DHCP),
    "ubuntu": (NETPLAN, UBUNTU, UBUNTU, UBUNTU_DHCP),
    "cloud-init": (
        NETPLAN,
        CLOUD_INIT,
        CLOUD_INIT.replace(f"            match:\n                macaddress: {MAC}\n", "").replace(
            "            set-name: ens192\n", ""
        ),
        "network:\n    ethernets:\n        ens192:\n            dhcp4: true\n    version: 2\n",
    ),
    "rhel 9": (CONNECTION, STATIC_KEYFILE, STATIC_KEYFILE, KEYFILE_DHCP),
    "keyfile with a MAC": (CONNECTION, PINNED_KEYFILE, STATIC_KEYFILE, KEYFILE_DHCP),
    "rhel 7": (IFCFG, RHEL_7, RHEL_7.replace(f'HWADDR="{MAC.upper()}"\n', ""), RHEL_7_DHCP),
    "sles": (SUSE, SLES, SLES, SLES_DHCP),
    "networkd": (NETWORK, pinned_by("Name=ens192"), pinned_by("Name=ens192"), NETWORKD_DHCP),
}  # fmt: skip


@pytest.mark.parametrize("mode", ["keep", "dhcp"])
@pytest.mark.parametrize("case", TABLE)
def test_a_file_of_an_installer(case: str, mode: str) -> None:
    path, text, kept, dhcp = TABLE[case]
    source = guest({path: text, **OF_SUSE} if case == "sles" else {path: text})
    cards = TWO if case == "ubuntu" else ONE
    result = planned(source, mode, cards=cards)
    assert after(source, result.plan).files[path].decode() == (kept if mode == "keep" else dhcp)
    if cards == ONE:
        assert 'RESULT=="0", NAME="ens192"\n' in (changed(result)[RULES] or "")
        assert [change.path for change in result.initramfs_files] == [RULES]


@pytest.mark.parametrize("case", TABLE)
def test_the_same_file_with_the_line_endings_of_windows(case: str) -> None:
    path, text, _, dhcp = TABLE[case]
    source = guest({path: text.replace("\n", "\r\n"), **(OF_SUSE if case == "sles" else {})})
    result = after(source, planned(source, "dhcp", cards=TWO if case == "ubuntu" else ONE).plan)
    assert result.files[path].decode() == dhcp.replace("\n", "\r\n")


@pytest.mark.parametrize("case", TABLE)
def test_the_same_file_without_a_final_newline(case: str) -> None:
    path, text, _, dhcp = TABLE[case]
    source = guest({path: f"{text}\n# end", **(OF_SUSE if case == "sles" else {})})
    result = after(source, planned(source, "dhcp", cards=TWO if case == "ubuntu" else ONE).plan)
    assert result.files[path].decode() == f"{dhcp}\n# end"


@pytest.mark.parametrize(
    ("match", "kept"),
    [
        (f"MACAddress={MAC}", "Name=ens192"),
        (f"PermanentMACAddress={MAC}\nType=ether", "Name=ens192\nType=ether"),
        ("Path=pci-0000:0b:00.0", "Name=ens192"),
        (f"MACAddress={MAC}\nName=ens192", "Name=ens192"),
        ("Name=ens192\nDriver=vmxnet3", "Name=ens192"),
    ],
)
def test_networkd_matches_by_name(match: str, kept: str) -> None:
    source = guest({NETWORK: pinned_by(match), "/etc/network/interfaces": "iface ens192 inet manual\n"})
    text = after(source, planned(source).plan).files[NETWORK].decode()
    assert sorted(text.splitlines()) == sorted(pinned_by(kept).splitlines())


def test_a_mac_that_stays_is_matched_as_before() -> None:
    """cloud-init's netplan names the card by its MAC, and a keyfile that knows the MAC needs no name."""
    assert changed(planned({NETPLAN: CLOUD_INIT}, keeps_macs=True)) == {}
    only_mac = PINNED_KEYFILE.replace("interface-name=ens192\n", "")
    assert changed(planned({CONNECTION: only_mac}, keeps_macs=True)) == {}
    pinned = KEYFILE_DHCP.replace("[ethernet]\n", f"[ethernet]\nmac-address={MAC.upper()}\n")
    text = changed(planned({CONNECTION: only_mac}, "dhcp", keeps_macs=True))
    assert text == {CONNECTION: pinned.replace("interface-name=ens192\n", "")}


def test_a_mac_that_the_guest_sets_is_kept_and_named() -> None:
    ifcfg = changed(planned({IFCFG: f"{RHEL_7}MACADDR=02:00:00:00:00:01\n"}))
    assert ifcfg[IFCFG] is not None and "MACADDR=02:00:00:00:00:01" in ifcfg[IFCFG]
    for files in (
        {IFCFG: f"{RHEL_7}MACADDR=02:00:00:00:00:01\n"},
        {CONNECTION: KEYFILE.format(pin="cloned-mac-address=02:00:00:00:00:01\n", method="auto")},
        {NETPLAN: UBUNTU.replace("mtu: 1400", "macaddress: 02:00:00:00:00:01")},
        {INTERFACES: f"{DEBIAN}\thwaddress ether 02:00:00:00:00:01\n"},
    ):
        assert any("sets the MAC" in note for note in planned(files).plan.notes)


BONDS: Final = {
    INTERFACES: "iface bond0 inet static\n\taddress 192.0.2.10/24\n\tbond-slaves ens192 ens224\n"
    "iface ens192 inet manual\niface ens224 inet manual\n",
    NETPLAN: "network:\n  ethernets:\n    ens192: {}\n    ens224: {}\n"
    "  bonds:\n    bond0:\n      interfaces: [ens192, ens224]\n      addresses: [192.0.2.10/24]\n",
    CONNECTION: "[connection]\ntype=ethernet\ninterface-name=ens192\nmaster=bond0\nslave-type=bond\n",
    IFCFG: "DEVICE=ens192\nTYPE=Ethernet\nMASTER=bond0\nSLAVE=yes\nBOOTPROTO=none\n",
    NETWORK: "[Match]\nName=ens192\n\n[Network]\nBond=bond0\n",
}


@pytest.mark.parametrize("path", BONDS)
def test_a_bond_keeps_its_address(path: str) -> None:
    result = planned({path: BONDS[path]}, "dhcp", cards=TWO)
    assert changed(result).keys() == {RULES}
    assert "ens192 belongs to bond0; the addresses of bond0 were kept" in result.plan.notes


def test_static_routes_of_red_hat_and_suse_go_with_the_address() -> None:
    folder = "/etc/sysconfig/network-scripts"
    files = {IFCFG: RHEL_7, f"{folder}/route-ens192": "default via 192.0.2.1\n"}
    files["/etc/sysconfig/network"] = "NETWORKING=yes\nGATEWAY=192.0.2.1\n"
    result = changed(planned(files, "dhcp"))
    assert (result[f"{folder}/route-ens192"], result["/etc/sysconfig/network"]) == (None, "NETWORKING=yes\n")
    suse = {
        SUSE: SLES,
        "/etc/sysconfig/network/routes": "default 192.0.2.1 - -\n10.0.0.0/8 192.0.2.9 - ens192\n",
        **OF_SUSE,
    }
    assert (
        changed(planned(suse, "dhcp"))["/etc/sysconfig/network/routes"] == "10.0.0.0/8 192.0.2.9 - ens192\n"
    )


def test_further_addresses_of_ifupdown_go_once_the_card_asks() -> None:
    files = {
        INTERFACES: "source interfaces.d/*\n",
        "/etc/network/interfaces.d/a": "auto ens192\niface ens192 inet static\n  address 192.0.2.10/24\n",
        "/etc/network/interfaces.d/b": "iface ens192 inet static\n  address 192.0.2.11/24\n# end\n",
    }
    result = changed(planned(files, "dhcp"))
    assert result["/etc/network/interfaces.d/a"] == "auto ens192\niface ens192 inet dhcp\n"
    assert result["/etc/network/interfaces.d/b"] == "# end\n"


def test_what_a_person_has_to_know_about_addresses() -> None:
    """cloud-init writes addresses of its own, static servers stay in resolv.conf, and a static Debian may lack a DHCP client."""
    files = {INTERFACES: DEBIAN, "/etc/resolv.conf": "nameserver 192.0.2.53\n", "/sbin/dhclient": ""}
    notes = planned(files, "dhcp").plan.notes
    assert any("/etc/resolv.conf was kept" in note for note in notes)
    assert not any("DHCP client" in note for note in notes)
    managed = {
        INTERFACES: DEBIAN,
        "/etc/resolv.conf": "# Generated by NetworkManager\nnameserver 192.0.2.53\n",
    }
    notes = planned(managed, "dhcp").plan.notes
    assert not any("resolv.conf" in note for note in notes)
    assert any("no DHCP client" in note for note in notes)
    cloud = {NETPLAN: UBUNTU, "/etc/cloud/cloud.cfg": "users: [default]\n"}
    assert any("cloud-init" in note for note in planned(cloud).plan.notes)
    cloud["/etc/cloud/cloud.cfg.d/99-net.cfg"] = "network: {config: disabled}\n"
    assert not any("cloud-init" in note for note in planned(cloud).plan.notes)


@pytest.mark.parametrize(
    "text",
    [
        "iface ens192\n\taddress 192.0.2.10/24\n",
        "iface ens192 inet static inherits lan\n\taddress 192.0.2.10/24\n",
    ],
)
def test_a_stanza_of_another_form_is_noted(text: str) -> None:
    result = planned({INTERFACES: text}, "dhcp")
    assert changed(result).keys() == {RULES}
    assert any("iface ens192" in note for note in result.plan.notes)


def test_an_ifcfg_file_whose_values_go_over_lines_is_noted() -> None:
    text = "DEVICE=ens192\nIPADDR='192.0.2.1\n'\nBOOTPROTO=none\n"
    result = planned({IFCFG: text}, "dhcp")
    assert (changed(result), [IFCFG in note for note in result.plan.notes]) == ({}, [True])
