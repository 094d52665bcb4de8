"""Packets that say that a guest is up."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from connector.conversion.network_trace import Sign, last_sign

MAC = "52:54:00:aa:bb:cc"
OWN = bytes.fromhex(MAC.replace(":", ""))
OTHER = bytes.fromhex("525400000001")


def _pcap(*packets: bytes) -> bytes:
    head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65536, 1)
    return head + b"".join(struct.pack("<IIII", 0, 0, len(p), len(p)) + p for p in packets)


def _dhcp(options: bytes, source: bytes = OWN, operation: int = 1) -> bytes:
    body = bytes([operation, 1, 6, 0]) + bytes(232) + b"\x63\x82\x53\x63" + options + b"\xff"
    udp = struct.pack(">HHHH", 68, 67, 8 + len(body), 0) + body
    ip = bytes([0x45, 0]) + struct.pack(">H", 20 + len(udp)) + bytes(5) + b"\x11" + bytes(10)
    return b"\xff" * 6 + source + b"\x08\x00" + ip + udp


def _arp(address: bytes, source: bytes = OWN) -> bytes:
    return (
        b"\xff" * 6 + source + b"\x08\x06" + bytes.fromhex("0001080006040001") + source + address + bytes(10)
    )


def test_a_request_for_an_address() -> None:
    options = b"\x35\x01\x03" + b"\x00" + b"\x32\x04\x0a\x00\x02\x0f" + b"\x0c\x05web-1"
    assert last_sign(_pcap(_dhcp(options)), MAC) == Sign("10.0.2.15", "web-1")


def test_a_discovery_without_anything() -> None:
    assert last_sign(_pcap(_dhcp(b"\x35\x01\x01")), MAC) == Sign()


def test_a_fixed_address_that_is_announced() -> None:
    assert last_sign(_pcap(_arp(bytes([192, 168, 7, 9]))), MAC) == Sign("192.168.7.9")


def test_ipv6_is_a_sign_without_an_address() -> None:
    assert last_sign(_pcap(OTHER + OWN + b"\x86\xdd" + bytes(40)), MAC) == Sign()


def test_what_is_known_is_kept() -> None:
    trace = _pcap(_dhcp(b"\x0c\x03web"), _arp(bytes([10, 0, 2, 15])))
    assert last_sign(trace, MAC) == Sign("10.0.2.15", "web")


def test_others_are_no_sign() -> None:
    trace = _pcap(
        _dhcp(b"", source=OTHER),
        _dhcp(b"", operation=2),
        _arp(bytes(4)),
        _arp(bytes([10, 0, 2, 2]), source=OTHER),
        OWN + OTHER + b"\x86\xdd" + bytes(40),
    )
    assert last_sign(trace, MAC) is None


@given(st.binary(max_size=300), st.integers(0, 700))
def test_damaged_traces_are_read_as_far_as_they_go(noise: bytes, cut: int) -> None:
    last_sign(noise, MAC)
    last_sign(_pcap(_dhcp(b"\x32\x04\x0a\x00\x02\x0f\x0c\xff"))[:cut] + noise, MAC)
    last_sign(_pcap(b"\xff" * 6 + OWN + noise), MAC)
