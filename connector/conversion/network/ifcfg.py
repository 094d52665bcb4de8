"""ifcfg files: /etc/sysconfig/network-scripts of Red Hat's family, /etc/sysconfig/network of SUSE's (wicked, ifup)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from connector.conversion.network import sections
from connector.conversion.network.cards import NameClaim, NamedCard, Naming, is_physical, is_valid
from connector.conversion.network.texts import GuestTexts

_RED_HAT: Final = "/etc/sysconfig/network-scripts"
_SUSE: Final = "/etc/sysconfig/network"
_ASSIGNMENT: Final = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]{0,60})=([^\r\n]*)")
_BACKUP: Final = re.compile(r".*(?:~|\.(?:bak|orig|old|rpmnew|rpmsave|rpmorig|save))")
_STATIC: Final = re.compile(
    r"(?:IPADDR|NETMASK|PREFIX|PREFIXLEN|GATEWAY|BROADCAST|NETWORK|REMOTE_IPADDR)(?:\d{1,3}|_[A-Za-z0-9]{1,8})?"
    r"|DNS\d|DOMAIN|IPV6ADDR|IPV6ADDR_SECONDARIES|IPV6_DEFAULTGW|LABEL_\w{1,8}"
)
_UPPER: Final = ("MASTER", "TEAM_MASTER", "BRIDGE", "OVS_BRIDGE", "BOND_MASTER", "BONDING_MASTER_DEVICE")
#: Keys of files that are no physical cards.
_OTHER_KINDS: Final = (
    "VLAN",
    "ETHERDEVICE",
    "BONDING_MASTER",
    "BONDING_OPTS",
    "TUNNEL",
    "VLAN_ID",
    "TEAM_CONFIG",
)


@dataclass(frozen=True, slots=True)
class IfcfgFile:
    """One file with the values of its last assignments."""

    path: str
    text: str
    values: dict[str, str]

    @property
    def name(self) -> str:
        return self.values.get("DEVICE", "") or ("" if self.values.get("HWADDR") else self.suffix)

    @property
    def suffix(self) -> str:
        return self.path.rpartition("/ifcfg-")[2]


def claims(texts: GuestTexts) -> list[NameClaim]:
    """The names and MACs of physical cards."""
    result: list[NameClaim] = []
    for file in _files(texts):
        mac = file.values.get("HWADDR", "")
        if mac or is_physical(file.name) or (file.values.get("TYPE") == "Ethernet" and is_valid(file.name)):
            result.append(NameClaim(file.name, mac))
    return result


def match_by_name(texts: GuestTexts, naming: Naming) -> None:
    """HWADDR binds a file to a MAC. MACADDR and LLADDR set one, which stays."""
    for file in _files(texts):
        if file.values.get("MACADDR") or file.values.get("LLADDR"):
            texts.note(f"{file.path} sets the MAC of its card; this was kept")
        card = naming.of_mac(file.values.get("HWADDR", ""))
        if naming.keeps_macs or card is None:
            continue
        text = _without(file.text, lambda key: key == "HWADDR")
        if not file.values.get("DEVICE"):
            text = _with_value(text, "DEVICE", card.name)
        texts.change(file.path, text, f"binds {card.name} to the MAC that it has under VMware")


def ask_dhcp(texts: GuestTexts, card: NamedCard, naming: Naming) -> None:
    """The card's file, its routes and the gateway of the whole system."""
    for file in _files(texts):
        mac = file.values.get("HWADDR", "")
        if file.name == card.name or (not file.name and naming.of_mac(mac) == card):
            _ask(texts, file, card)


def _ask(texts: GuestTexts, file: IfcfgFile, card: NamedCard) -> None:
    upper = next((file.values[key] for key in _UPPER if file.values.get(key)), "")
    if upper:
        texts.note(f"{card.name} belongs to {upper}; the addresses of {upper} were kept")
        return
    protocol = file.values.get("BOOTPROTO", "").lower()
    if protocol.startswith(("dhcp", "auto")):
        return
    if not any(key.startswith("IPADDR") and value for key, value in file.values.items()):
        texts.note(f"{card.name} has no IPv4 address of its own in {file.path}; nothing was changed there")
        return
    text = _without(file.text, lambda key: _STATIC.fullmatch(key) is not None)
    if file.values.get("IPV6ADDR"):
        text = _with_value(text, "IPV6_AUTOCONF", "yes")
    why = f"{card.name} asks DHCP on the target"
    texts.change(file.path, _with_value(text, "BOOTPROTO", "dhcp"), why)
    _drop_routes(texts, file, card)


def _drop_routes(texts: GuestTexts, file: IfcfgFile, card: NamedCard) -> None:
    folder = file.path.rpartition("/")[0]
    why = f"routes by {card.name}, which gets its routes by DHCP"
    prefixes = ("ifroute-",) if folder == _SUSE else ("route-", "route6-")
    for path in texts.paths(folder, f"route-{card.name}", f"route6-{card.name}"):
        if path.rpartition("/")[2] in {f"{prefix}{card.name}" for prefix in prefixes}:
            texts.change(path, None, why)
    if folder == _SUSE:
        routes = texts.read(f"{_SUSE}/routes")
        if routes is not None:
            kept = [line for line in sections.split(routes) if not _is_default(line, card.name)]
            texts.change(f"{_SUSE}/routes", "".join(kept), why)
        return
    system = texts.read("/etc/sysconfig/network")
    if system is not None and _values(system).get("GATEWAYDEV", card.name) in ("", card.name):
        texts.change("/etc/sysconfig/network", _without(system, lambda key: key == "GATEWAY"), why)


def _is_default(line: str, name: str) -> bool:
    """A default route of SUSE: destination, gateway, netmask, interface."""
    words = line.split()
    return words[:1] == ["default"] and (len(words) < 4 or words[3] in ("-", name))


def _files(texts: GuestTexts) -> Iterator[IfcfgFile]:
    """The files of physical cards."""
    for folder in (_RED_HAT, _SUSE) if _is_suse(texts) else (_RED_HAT,):
        for path in texts.paths(folder):
            name = path.rpartition("/")[2]
            if not name.startswith("ifcfg-") or name == "ifcfg-lo" or _BACKUP.fullmatch(path):
                continue
            text = texts.read(path)
            if text is not None and _is_open(text):
                texts.note(f"{path} was not looked at: a quoted value does not end on its line")
            elif text is not None and (file := IfcfgFile(path, text, _values(text))) and _is_card(file):
                yield file


def _is_open(text: str) -> bool:
    """Whether a value goes over several lines, as a shell allows."""
    values = (match[2].strip() for line in sections.split(text) if (match := _ASSIGNMENT.match(line)))
    return any(value[:1] in ('"', "'") and value[0] not in value[1:] for value in values)


def _is_suse(texts: GuestTexts) -> bool:
    """Elsewhere /etc/sysconfig/network is a file, not a folder."""
    release = texts.read("/etc/os-release") or ""
    return "suse" in release.lower() or texts.read("/etc/SuSE-release") is not None


def _is_card(file: IfcfgFile) -> bool:
    kind = file.values.get("TYPE", "")
    if kind not in ("", "Ethernet") or any(
        file.values.get(key) not in (None, "", "no") for key in _OTHER_KINDS
    ):
        return False
    is_alias = ":" in file.suffix or "." in file.name or ":" in file.name
    return not is_alias and file.values.get("BRIDGE", "") != "yes"


def _values(text: str) -> dict[str, str]:
    """Values without their quotes. The last assignment is valid."""
    assignments = (_ASSIGNMENT.match(line) for line in sections.split(text))
    return {match[1]: _unquoted(match[2]) for match in assignments if match}


def _unquoted(value: str) -> str:
    value = value.strip()
    if value[:1] in ('"', "'"):
        return value[1:].partition(value[0])[0]
    return re.split(r"\s", value, maxsplit=1)[0]


def _without(text: str, is_removed: Callable[[str], bool]) -> str:
    lines = sections.split(text)
    return "".join(line for line in lines if not ((m := _ASSIGNMENT.match(line)) and is_removed(m[1])))


def _with_value(text: str, key: str, value: str) -> str:
    """Every assignment of the key gets the value, with the quotes that it has; without one, a line is added."""
    lines = sections.split(text)
    places = [n for n, line in enumerate(lines) if (m := _ASSIGNMENT.match(line)) and m[1] == key]
    for n in places:
        match = _ASSIGNMENT.match(lines[n])
        if match and _unquoted(match[2]) != value:
            quote = match[2].strip()[:1]
            quote = quote if quote in ('"', "'") else ""
            lines[n] = f"{lines[n][: match.start(2)]}{quote}{value}{quote}{lines[n][match.end(2) :]}"
    if places:
        return "".join(lines)
    end = sections.ending(text)
    if lines and not lines[-1].endswith("\n"):
        return "".join([*lines, end, f"{key}={value}"])
    return "".join([*lines, f"{key}={value}{end}"])
