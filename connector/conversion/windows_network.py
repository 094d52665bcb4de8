"""The fixed address of a Windows' network card, and the script that gives it to the new card.

A new card is a new device with a key of its own in the registry. That key does not exist before Windows has met the card, so only
a script in the running Windows can give it an address. Values of the registry: Microsoft's page "TCP/IP and NBT configuration
parameters". Only what is an IPv4 address gets into the script.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from connector.conversion.registry import RegistryKey

SCRIPT: Final = "addresses.ps1"
_DRIVER: Final = "netkvm"  # the service of a virtio card
_MINUTES: Final = 15  # that Windows may need to find its new card


@dataclass(frozen=True, slots=True)
class FixedAddress:
    """The fixed addresses of one card. `key`: the name of its key. As many masks as addresses."""

    key: str
    addresses: tuple[str, ...]
    masks: tuple[str, ...]
    gateways: tuple[str, ...] = ()
    servers: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ", ".join(self.addresses)


def fixed(key: str, card: RegistryKey) -> FixedAddress | None:
    """The fixed addresses of a card; None for one that asks DHCP or has none."""
    if card.number("EnableDHCP") != 0:
        return None
    pairs = [
        (address, mask)
        for address, mask in zip(_list(card, "IPAddress"), _list(card, "SubnetMask"), strict=False)
        if _is_address(address) and _is_mask(mask)
    ]
    if not pairs:
        return None
    servers = card.text("NameServer").replace(",", " ").split()
    return FixedAddress(
        key,
        tuple(address for address, _ in pairs),
        tuple(mask for _, mask in pairs),
        tuple(filter(_is_address, _list(card, "DefaultGateway"))),
        tuple(filter(_is_address, servers)),
    )


def has_lease(card: RegistryKey) -> bool:
    """Whether a card that asks DHCP had an address from it."""
    return card.number("EnableDHCP") == 1 and _is_address(card.text("DhcpIPAddress"))


def trouble(fixed_addresses: Mapping[str, FixedAddress], leases: int, cards: int) -> str:
    """Why nobody can tell which new card shall get the addresses; empty when it is clear. `cards`: 0 if it is not known."""
    if len(fixed_addresses) == 1 and cards <= 1 and not leases:
        return ""
    words = [f"{len(fixed_addresses)} with fixed addresses", f"{leases} with one from DHCP"]
    return f"the registry has cards that may be gone ({', '.join(words)}), and the machine has {cards or 'an unknown number'}"


def script(address: FixedAddress) -> bytes:
    """PowerShell that waits for the virtio card and gives it the addresses. It needs nothing newer than PowerShell 2."""
    lines = (
        f"$addresses = {_array(address.addresses)}",
        f"$masks = {_array(address.masks)}",
        f"$gateways = {_array(address.gateways)}",
        f"$servers = {_array(address.servers)}",
        f"$deadline = (Get-Date).AddMinutes({_MINUTES})",
        "$filter = 'IPEnabled=TRUE AND ServiceName=\"" + _DRIVER + "\"'",
        "do {",
        "    Start-Sleep -Seconds 5",
        "    $cards = @(Get-WmiObject Win32_NetworkAdapterConfiguration -Filter $filter)",
        "} while ($cards.Count -eq 0 -and (Get-Date) -lt $deadline)",
        "if ($cards.Count -ne 1) {",
        '    Write-Output "$($cards.Count) virtio network cards: no address was set"',
        "    exit 1",
        "}",
        "function Check($what, $answer) {",
        '    Write-Output "$what answered $($answer.ReturnValue)"',
        "    if ($answer.ReturnValue -gt 1) { exit 1 }",  # 1: it works after a restart
        "}",
        "Check 'EnableStatic' $cards[0].EnableStatic($addresses, $masks)",
        "if ($gateways.Count -gt 0) { Check 'SetGateways' $cards[0].SetGateways($gateways) }",
        "if ($servers.Count -gt 0) { Check 'SetDNSServerSearchOrder' $cards[0].SetDNSServerSearchOrder($servers) }",
        "exit 0",
    )
    return "".join(f"{line}\r\n" for line in lines).encode()


def _array(words: tuple[str, ...]) -> str:
    return f"@({', '.join(repr(word) for word in words)})"


def _list(card: RegistryKey, name: str) -> tuple[str, ...]:
    value = card.value(name)
    return value.texts if value is not None else ()


def _is_address(text: str) -> bool:
    try:
        return not IPv4Address(text).is_unspecified
    except ValueError:
        return False


def _is_mask(text: str) -> bool:
    """Whether its bits are ones and then zeros."""
    try:
        bits = int(IPv4Address(text))
    except ValueError:
        return False
    inverse = bits ^ 0xFFFFFFFF
    return bits != 0 and inverse & (inverse + 1) == 0
