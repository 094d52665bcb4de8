"""A script that runs once at the first start of a converted Linux: its files are planned once."""

from __future__ import annotations

from pathlib import Path

import pytest

from connector.conversion import first_boot
from connector.conversion.changes import ChangePlan
from connector.errors import BadInput, Ineligible
from tests.conversion.guest_files import GuestFiles

SCRIPT = b"#!/bin/sh -e\necho hello\n"
SYSTEMD = GuestFiles({"/lib/systemd/systemd": b""})


def planned(script: bytes = SCRIPT, files: GuestFiles = SYSTEMD) -> ChangePlan:
    plan = first_boot.plan(script, files, "web-01")
    assert first_boot.plan(script, files.after(plan), "web-01").is_empty
    return plan


def text_of(plan: ChangePlan, end: str) -> str:
    (text,) = (change.after for change in plan.changes if change.path.endswith(end))
    assert text is not None
    return text.decode()


def test_a_unit_runs_the_script_with_its_interpreter_until_it_has_succeeded() -> None:
    plan = planned()
    unit = text_of(plan, ".service")
    assert "ExecStart=/bin/sh -e /usr/local/lib/connector/first-boot\n" in unit
    done = "/var/lib/connector-first-boot.done"
    assert f"ConditionPathExists=!{done}\n" in unit
    assert f"ExecStartPost=/bin/touch {done}\n" in unit
    assert "Wants=connector-first-boot.service" in text_of(
        plan, "multi-user.target.d/connector-first-boot.conf"
    )


def test_only_root_reads_the_script() -> None:
    modes = {change.after: change.mode for change in planned().changes}
    assert modes.pop(SCRIPT) == 0o700
    assert set(modes.values()) == {0o644}


def test_another_script_takes_the_place_of_the_first() -> None:
    files = SYSTEMD.after(planned())
    plan = planned(b"#!/bin/sh -e\necho again\n", files)
    assert [(change.before, change.after) for change in plan.changes] == [
        (SCRIPT, b"#!/bin/sh -e\necho again\n")
    ]


def test_systemds_own_signs_in_an_interpreter_are_no_signs() -> None:
    assert "ExecStart=/opt/100%% $$x /usr" in text_of(planned(b"#!/opt/100% $x\n"), ".service")


def test_a_linux_without_systemd_is_refused() -> None:
    with pytest.raises(Ineligible, match="has no systemd"):
        first_boot.plan(SCRIPT, GuestFiles({"/sbin/init": b""}), "web-01")


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (b"echo hello\n", "does not begin with #!"),
        (b"#!sh\n", "does not begin with #!"),
        (b"#!/bin/\x00sh\n", "does not begin with #!"),
        (b"", "does not begin with #!"),
        (b"#!/bin/sh\n" + bytes(256 << 10), "more than 256 KiB"),
    ],
)
def test_what_is_no_script_is_refused(tmp_path: Path, script: bytes, why: str) -> None:
    (tmp_path / "script").write_bytes(script)
    with pytest.raises(BadInput, match=why):
        first_boot.read(tmp_path / "script")


def test_a_script_is_read(tmp_path: Path) -> None:
    (tmp_path / "script").write_bytes(SCRIPT)
    assert first_boot.read(tmp_path / "script") == SCRIPT
