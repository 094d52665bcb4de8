"""`connector batch drill`: the table, the exit code, and the column of `batch status`."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Connector
from tests.control.conftest import machine
from tests.smc.conftest import Cloud, fresh


def test_a_wave_is_rehearsed(cloud: Cloud, connector: Connector, tmp_path: Path) -> None:
    name, first, second = fresh("w"), fresh("vm"), fresh("vm")
    file = tmp_path / "wave.yaml"
    text = f"""apiVersion: connector/v1
kind: MigrationWave
metadata: {{name: {name}}}
defaults:
  target: {{region: local}}
  incremental: {{every: 6h, keep: 3}}
  drill: true
schedule: {{start: now}}
machines:
  - name: {first}
  - name: {second}
    drill: {{network: keep}}
"""
    file.write_text(text)
    robot, _ = cloud.sources(machine("vm-1", first, 1), machine("vm-2", second, 1))
    with robot:
        connector("batch", "apply", str(file))
        connector("batch", "status", str(file), "--watch", "--every", "0.3")
    assert "none so far" in connector("batch", "status", str(file)).out
    done = connector("batch", "drill", str(file))
    assert f"{name}: 2 of 2 boot" in done.out
    assert f"{first}: boots: login prompt" in done.err
    (cloud.plane.gates / f"drill-{second}_CYCLE_1").write_text("panic")
    ended = connector("batch", "drill", str(file), "--json", code=13)
    assert {row["machine"]: row["boots"] for row in ended.json["drills"]} == {first: True, second: False}
    rows = connector("batch", "status", str(file), "--json").json["machines"]
    assert {row["machine"]: row["drill"].partition(",")[0] for row in rows} == {
        first: "boots: login prompt",
        second: "does not boot: kernel panic (VFS: Unable to mount root fs)",
    }
    (cloud.plane.gates / f"drill-{second}_CYCLE_1").write_text("full")
    assert "64 MiB are needed" in connector("batch", "drill", str(file), code=12).out
    file.write_text(text.replace("drill: true", "drill: false").replace("{network: keep}", "false"))
    assert "no machine of the wave wants a drill" in connector("batch", "drill", str(file), code=3).err
