"""The library reads what the simulator's own disks write: snapshots, trims, reverts, folded layers."""

import random
from pathlib import Path

import pytest

from simulator.estate.chain import DiskChain
from simulator.estate.export import Export
from tests.vixdisklib.client import Client
from tests.vixdisklib.conftest import Start
from tests.vixdisklib.estate import PATH, THUMBPRINT, Estate

CAPACITY = 3 * 2**20 + 512


def _publish(estate: Estate, chain: DiskChain) -> None:
    for view, point in [("current", None), *((point, point) for point in chain.points)]:
        files = "\t".join(map(str, chain.files(point)))
        folder = estate.root / "vm-16" / view
        folder.mkdir(parents=True, exist_ok=True)
        scratch = folder / "new"
        scratch.write_text(f"{PATH}\t{CAPACITY}\tlsilogic\tu\tpersistent\t{files}\n")
        scratch.rename(folder / "disks")


def _scribble(chain: DiskChain, dice: random.Random) -> None:
    for _ in range(12):
        start = dice.randrange(CAPACITY // 512)
        count = min(dice.choice([1, 7, 8, 64, 300]), CAPACITY // 512 - start)
        if dice.random() < 0.2:
            chain.discard(start * 512, count * 512)
        else:
            chain.write(start * 512, dice.randbytes(count * 512))


def _content(client: Client, slot: int, out: Path) -> bytes:
    assert client.do("read", slot, 0, CAPACITY // 512, out) == "0"
    return out.read_bytes()


@pytest.mark.parametrize("seed", range(4))
def test_every_view_reads_as_the_chain_does(start: Start, estate: Estate, tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    chain = DiskChain.create(tmp_path / "disk", "web", CAPACITY)
    client = start(noise=0)
    client.init()
    for step in range(5):
        _scribble(chain, dice)
        chain.freeze(f"snapshot-{step}")
        _scribble(chain, dice)
        if step == 3:
            chain.revert("snapshot-1")
        _publish(estate, chain)
        for point in [None, *sorted(chain.points)]:
            assert [client.connect(snapshot=point or "current"), client.open()] == ["0", "0"], client.log()
            assert _content(client, 0, tmp_path / "out") == chain.read(0, CAPACITY, point)
            expected = {
                chunk
                for area in chain.allocated(point, 65536)
                for chunk in range(area.start // 65536, -(-(area.start + area.length) // 65536))
            } - {CAPACITY // 65536}
            runs = [
                tuple(map(int, run.split("+"))) for run in client.do("query", 0, 0, 48 * 128, 128).split()[1:]
            ]
            assert {one for at, length in runs for one in range(at // 128, (at + length) // 128)} == expected
            client.do("close", 0)
    chain.close()


def test_an_open_snapshot_stays_as_it_was_while_others_are_folded(
    start: Start, estate: Estate, tmp_path: Path
) -> None:
    dice = random.Random(9)
    chain = DiskChain.create(tmp_path / "disk", "web", CAPACITY)
    for number in (1, 2, 3):
        _scribble(chain, dice)
        chain.freeze(f"snapshot-{number}")
    _publish(estate, chain)
    client = start(noise=0)
    client.init()
    client.connect(snapshot="snapshot-3")
    client.open()
    before = chain.read(0, CAPACITY, "snapshot-3")
    for gone in ("snapshot-1", "snapshot-2"):
        chain.forget(gone)
        chain.consolidate(switched=lambda: _publish(estate, chain))
        _scribble(chain, dice)
        assert _content(client, 0, tmp_path / "out") == before
    client.open(1)
    assert _content(client, 1, tmp_path / "out") == before
    chain.close()


def test_access_and_sessions_are_read_as_exported(start: Start, estate: Estate, tmp_path: Path) -> None:
    export = Export(estate.root)
    export.access("CC:DD", [("alice", "p=w d"), ("bob", "x")])
    export.open_session("52-cookie")
    estate.view([estate.layer("base", 4096, mapped=False)])
    client = start()
    client.init()
    client.do("params", 0, "allocate", "vc", "moref=vm-16", "CC:DD", 1, "alice", "p=w d")
    assert [client.do("connect", 0, 0, "snapshot-7", "-"), client.open()] == ["0", "0"]
    client.do("params", 0, "allocate", "vc", "moref=vm-16", THUMBPRINT, 2, "52-cookie", "bob")
    assert [client.do("connect", 0, 0, "snapshot-7", "-"), client.open()] == ["0", "1"]
    export.hosts({"vm-16": "maintenance"})
    client.do("params", 0, "allocate", "vc", "moref=vm-16", "CC:DD", 2, "52-cookie", "bob")
    assert [client.do("connect", 0, 0, "snapshot-7", "-"), client.open()] == ["0", "14014"]
    export.close_session("52-cookie")
    assert client.open() == "3047"
