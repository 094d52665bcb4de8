"""Changed areas as a program with the govmomi library asks for them, against what our client reads."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from connector.settings import VCenterSettings
from connector.vcenter.client import VCenter
from simulator.vcenter import Options, Server, serve
from tests.simulator.conftest import ACCOUNTS, MIB, PASSWORD, USER, opened_estate
from tests.vcenter.ledger import Memory
from tests.waiting import PATIENCE

SOURCES = Path(__file__).parent / "govmomi"
GO = shutil.which("go") or next((str(p) for p in (Path("/usr/local/go/bin/go"),) if p.exists()), None)
pytestmark = pytest.mark.skipif(GO is None, reason="needs Go (Debian: golang-go)")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Go program; its module and sums are pinned, so only a proxy or a filled cache is needed."""
    assert GO is not None
    made = tmp_path_factory.mktemp("go") / "changed"
    built = subprocess.run(
        [GO, "build", "-o", str(made), "./changed"],
        cwd=SOURCES,
        env=os.environ | {"GOFLAGS": "-mod=mod -buildvcs=false"},
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode and ("dial tcp" in built.stderr or "proxy" in built.stderr):
        pytest.skip("needs github.com/vmware/govmomi v0.46.3 from a Go module proxy")
    assert built.returncode == 0, built.stderr
    return made


def ask(program: Path, server: Server, *words: object) -> dict[str, Any]:
    environment = {
        "GOVC_URL": server.url,
        "GOVC_USERNAME": USER,
        "GOVC_PASSWORD": PASSWORD,
        "GOVC_TLS_CA_CERTS": str(server.certificate),
    }
    done = subprocess.run(
        [str(program), *map(str, words)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def merged(areas: list[list[int]]) -> list[tuple[int, int]]:
    """The same bytes without touching neighbours, as our client gives them."""
    found: list[tuple[int, int]] = []
    for start, length in sorted(map(tuple, areas)):
        if found and start <= sum(found[-1]):
            found[-1] = (found[-1][0], max(sum(found[-1]), start + length) - found[-1][0])
        else:
            found.append((start, length))
    return found


def test_both_clients_read_the_same_areas(program: Path, tmp_path: Path) -> None:
    """Writes all over a disk, so many that an answer covers only a part of it: every window counts for both."""
    with (
        opened_estate(tmp_path / "estate") as estate,
        serve(estate, accounts=ACCOUNTS, options=Options(cbt_page=7)) as server,
        VCenter(
            VCenterSettings(
                url=server.url, user=USER, password=SecretStr(PASSWORD), thumbprint=server.thumbprint
            ),
            owner="witness",
            ledger=Memory(),
        ) as vcenter,
    ):
        vcenter.ensure_tracking("vm-101", "p0")
        with vcenter.snapshot("vm-101", "p1") as base:
            pass
        for number in range(30):
            estate.power.write("vm-101", 2000, number * 2 * MIB + 4096 * number, bytes([1 + number]) * 4096)
        with vcenter.snapshot("vm-101", "p2") as taken:
            for disk, old in zip(taken.disks, base.disks, strict=True):
                told = ask(program, server, "vm-101", taken.moref, disk.key, old.change_id)
                ours = vcenter.changed("vm-101", taken, disk, old)
                assert (told["changeId"], told["capacity"]) == (disk.change_id, disk.capacity)
                assert merged(told["areas"]) == [tuple(area) for area in ours]
                assert (len(ours) >= 30 and told["windows"] > 1) == (disk.key == 2000)
            everything = ask(program, server, "vm-101", taken.moref, 2000, "*")
            assert merged(everything["areas"]) == [
                tuple(area) for area in vcenter.changed("vm-101", taken, taken.disks[0], None)
            ]
