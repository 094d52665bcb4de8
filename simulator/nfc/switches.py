"""How the imaginary hosts behave: one table, for tests, for the command line and for the documentation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Any

MIB = 1 << 20
BANNER = (
    "220 VMware Authentication Daemon Version 1.10: SSL Required, ServerDaemonProtocol:SOAP, "
    "MKSDisplayProtocol:VNC , VMXARGS supported, NFCSSL supported, SHA256 supported"
)

DAMAGES = frozenset({"magic", "id", "compression", "length", "overlap", "missing", "outside", "total"})
_WORDS = {
    "first_certificate": {"host", "other"},
    "second_certificate": {"host", "other"},
    "digest_of": {"first", "second"},
    "damage": DAMAGES | {""},
}


def _switch(default: Any, meaning: str) -> Any:
    return field(default=default, metadata={"meaning": meaning})


@dataclass(frozen=True, slots=True)
class Switches:
    """One value for all hosts; replace it at any time, later requests and connections follow it."""

    banner: str = _switch(BANNER, "the first line of authd, without its line end")
    nfc_version: int = _switch(11, "version that the host names in its message 51; below 3 it ends at AIO")
    ticket_seconds: float = _switch(60.0, "how long a ticket is good for [?]")
    handshake_seconds: float = _switch(20.0, "how long authd and the classic messages may take together")
    idle_seconds: float = _switch(300.0, "a session without a request for so long ends [?]")
    connections: int = _switch(50, "connections at once to one host; one more is closed without a banner [?]")
    memory: int = _switch(48 * MIB, "NFC memory of one host: the sum of buffer size x count of its sessions")
    session_memory: int = _switch(16 * MIB, "OPEN_SESSION whose size x count reaches it is refused")
    buffer_size: int = _switch(65536, "buffer size of a session that asks for none")
    buffer_count: int = _switch(4, "buffer count of a session that asks for none [?]")
    lock_live: bool = _switch(True, "false: the live disk of a running machine opens")
    plain_data: bool = _switch(True, "false: `PROXY vpxa-nfc` (data without TLS) is answered 501")
    compression: bool = _switch(True, "false: every fragment comes uncompressed")
    shuffle: int = _switch(
        0, "answer up to so many waiting reads together, their fragments in random order; 0: in order"
    )
    seed: int = _switch(1, "seed of that order")
    sector_size: int = _switch(0, "sector size that OPEN_FILE answers; 0 stands for 512")
    capacity_added: int = _switch(0, "bytes that the capacity in OPEN_FILE's answer is wrong by")
    read_ms: int = _switch(0, "delay of each read, milliseconds; reads wait for each other")
    rtt_ms: int = _switch(
        0,
        "how much later everything that the host says arrives, milliseconds; answers do not wait for each other",
    )
    bandwidth: int = _switch(0, "bytes per second that one connection sends; 0: no cap")
    cut_after: int = _switch(
        -1, "drop a connection after so many bytes sent, before encryption; -1: never; 0: before the banner"
    )
    first_certificate: str = _switch("host", "certificate of the first TLS layer: host, or other")
    second_certificate: str = _switch("host", "certificate of the second TLS layer: host, or other")
    digest_of: str = _switch("second", "which layer's certificate THUMBPRINT_SHA2 names: first or second")
    damage: str = _switch(
        "",
        "what is wrong with the last piece of each answer to a read: magic, id, compression, length,"
        " overlap, missing, outside, total",
    )

    def __post_init__(self) -> None:
        for name, words in _WORDS.items():
            if getattr(self, name) not in words:
                raise ValueError(f"NFC switch {name}: {getattr(self, name)!r} is none of {sorted(words)}")


def with_values(switches: Switches, settings: Iterable[str]) -> Switches:
    """The switches with `name=value` pairs put in. Raises ValueError."""
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or name not in {entry.name for entry in fields(Switches)}:
            raise ValueError(f"NFC switch {setting!r}: give NAME=VALUE with a name of docs/simulator-nfc.md")
        change: dict[str, Any] = {name: _value(name, getattr(switches, name), text)}
        switches = replace(switches, **change)
    return switches


def _value(name: str, present: object, text: str) -> object:
    if isinstance(present, bool):
        if text not in ("true", "false"):
            raise ValueError(f"NFC switch {name}: {text!r} is not true or false")
        return text == "true"
    if isinstance(present, str):
        return text
    try:
        return int(text) if isinstance(present, int) else float(text)
    except ValueError:
        raise ValueError(f"NFC switch {name}: {text!r} is not a number") from None


def markdown() -> str:
    """The table for the documentation."""
    rows = (
        f"| `{entry.name}` | {_shown(entry.default)} | {entry.metadata['meaning']} |"
        for entry in fields(Switches)
    )
    return "\n".join(["| switch | default | meaning |", "|---|---|---|", *rows]) + "\n"


def _shown(default: object) -> str:
    text = str(default).lower() if isinstance(default, bool) else str(default)
    return f"`{text}`" if text else ""
