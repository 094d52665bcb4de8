"""Whether a machine asked its network for an address, by the packets it sent. Pure: the bytes of a pcap file.

A guest that sends DHCP or IPv6, or announces an address by ARP, has switched its network card on: its user space runs, whether or
not it has a console.
Format: the pcap file format, and RFC 826, 791, 768 and 2131.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

_HEADER: Final = 24
_PACKET: Final = 16
_ARP: Final = b"\x08\x06"
_IPV4: Final = b"\x08\x00"
_IPV6: Final = b"\x86\xdd"
_REQUEST: Final = 1  # BOOTP, by the client
_COOKIE: Final = b"\x63\x82\x53\x63"
_REQUESTED_ADDRESS, _HOST_NAME, _END, _PAD = 50, 12, 255, 0


class Sign(NamedTuple):
    """`address`: the IPv4 address that the machine has or asks for, if it says so. `host`: the name it gives itself."""

    address: str = ""
    host: str = ""


def last_sign(trace: bytes, mac: str) -> Sign | None:
    """The newest sign of the card `mac`; None when it asked for nothing. Damaged or cut files are read as far as they go."""
    own = bytes.fromhex(mac.replace(":", ""))
    sign = None
    for packet in _packets(trace):
        if packet[6:12] == own and (sender := _read(packet, own)) is not None:
            sign = Sign(
                sender.address or (sign.address if sign else ""), sender.host or (sign.host if sign else "")
            )
    return sign


def _packets(trace: bytes) -> Iterator[bytes]:
    order = "<" if trace[:1] in (b"\xd4", b"\x4d") else ">"
    place = _HEADER
    while place + _PACKET <= len(trace):
        (length,) = struct.unpack_from(f"{order}8xI", trace, place)
        place += _PACKET
        if place + length > len(trace):
            return
        yield trace[place : place + length]
        place += length


def _read(packet: bytes, own: bytes) -> Sign | None:
    if packet[12:14] == _ARP and packet[22:28] == own:
        address = _dotted(packet[28:32])
        return Sign(address) if address not in ("", "0.0.0.0") else None  # noqa: S104 # nosec B104 - "no address" in ARP
    if packet[12:14] == _IPV6:
        return Sign()
    if packet[12:14] == _IPV4 and packet[23:24] == b"\x11":
        return _dhcp(packet[14 + (packet[14] & 15) * 4 :])
    return None


def _dhcp(datagram: bytes) -> Sign | None:
    if datagram[:4] != struct.pack(">HH", 68, 67) or datagram[8:9] != bytes([_REQUEST]):
        return None
    options = dict(_options(datagram[8 + 236 :]))
    name = options.get(_HOST_NAME, b"").decode(errors="replace").rstrip("\0")
    return Sign(_dotted(options.get(_REQUESTED_ADDRESS, b"")), name if name.isprintable() else "")


def _options(area: bytes) -> Iterator[tuple[int, bytes]]:
    if area[:4] != _COOKIE:
        return
    place = 4
    while place + 1 < len(area) and area[place] != _END:
        if area[place] == _PAD:
            place += 1
            continue
        length = area[place + 1]
        yield area[place], area[place + 2 : place + 2 + length]
        place += 2 + length


def _dotted(raw: bytes) -> str:
    return ".".join(map(str, raw)) if len(raw) == 4 else ""
