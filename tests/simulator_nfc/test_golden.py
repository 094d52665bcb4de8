"""The kept conversation: played against the host, every byte that it says is the one in the file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from simulator.estate.build import SCSI
from simulator.nfc import Ticket
from tests.simulator_nfc.conftest import MIB, OFF, Site
from tests.simulator_nfc.raw import Client

FILE = Path(__file__).parents[2] / "fixtures" / "nfc" / "read-a-disk.txt"
SESSION = "52c0ffee-00000000-00000000-00000014"
DIGEST = "{SHA-256 of the second certificate}"


@pytest.fixture
def ticket(site: Site) -> Iterator[Ticket]:
    """For a disk of 1 MiB: sector n of the first 128 is filled with byte n, the others are zeros."""
    disk = site.estate.hardware.add_disk(OFF, SCSI, 5, MIB)
    site.estate.storage.disk(disk.storage).write(0, b"".join(bytes([n]) * 512 for n in range(128)))
    assert disk.path == "[datastore-1] idle-00003/idle-00003_1.vmdk"
    kept = replace(site.hosts.issue(OFF), session_id=SESSION)
    site.hosts.tickets.keep(kept, 1000)
    yield kept
    site.estate.hardware.remove_disk(OFF, disk.key, destroy=True)


def _bytes(text: str, digest: str) -> bytes:
    """What a line of the file stands for: hexadecimal pairs, or a line of text in quotes."""
    if text.startswith('"'):
        return text.strip('"').replace(DIGEST, digest).encode() + b"\r\n"
    return bytes.fromhex(text)


def _played(client: Client, digest: str) -> Iterator[str]:
    """Every line of the file, the host's replaced by what it says now."""
    for line in FILE.read_text().splitlines():
        word, _, text = line.partition(" ")
        if line == "== TLS":
            client.wire.secure()
        elif line == "== the layer is left":
            client.wire.abandon()
        elif word == "C":
            client.wire.send(_bytes(text, digest))
        elif word == "S":
            heard = client.wire.receive(len(_bytes(text, digest)))
            if text.startswith('"'):
                yield 'S "' + heard.decode().removesuffix("\r\n").replace(digest, DIGEST) + '"'
            else:
                yield "S " + heard.hex(" ", 4)
            continue
        yield line


def test_the_host_says_what_the_kept_conversation_says(site: Site, ticket: Ticket) -> None:
    with Client(ticket) as client:
        played = "\n".join(_played(client, site.hosts.certificate("host").sha256)) + "\n"
        with pytest.raises(ConnectionError):
            client.wire.receive(1)
    if os.environ.get("UPDATE_FIXTURES"):
        FILE.write_text(played)
    assert played == FILE.read_text()
