"""Hostile bytes for every reader: a refusal as documented, never a crash, never more memory than the input may cost."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.fuzz.edits import edited
from tests.fuzz.targets import TARGETS, Target
from tests.fuzz.verdict import Failure, check

SECONDS = int(os.environ.get("FUZZ_SECONDS") or 60)
SEED = int(os.environ.get("FUZZ_SEED") or 1)


@pytest.mark.fuzz
@pytest.mark.timeout(0)
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_hostile_bytes_for_as_long_as_wanted(target: Target, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("atheris", reason="needs atheris: see tests/fuzz/requirements.lock")
    words = [sys.executable, "-m", "tests.fuzz.hunt", target.name, str(SECONDS), str(SEED)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    told = f"seed {SEED}; commit the new file in {target.seeds} with the mending\n{done.stdout[-3000:]}\n{done.stderr[-2000:]}"
    assert done.returncode == 0, told
    tried = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    reached = re.findall(r"cov: (\d+)", done.stderr)
    assert tried and reached, told
    with capsys.disabled():
        print(
            f" {target.name}: {tried[1]} inputs, {reached[0]} -> {reached[-1]} branches, seed {SEED}", end=""
        )
    assert int(tried[1]) > 100


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_what_failed_once_is_read_for_ever(target: Target) -> None:
    inputs = target.inputs()
    assert inputs
    for data in inputs:
        check(target, data)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_some_hostile_bytes_every_time(target: Target) -> None:
    seen = set()

    @settings(
        max_examples=target.few,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def tries(data: st.DataObject) -> None:
        seen.add(check(target, data.draw(edited(target))))

    tries()
    assert len(seen) > 3


def _target(run: object) -> Target:
    kept = TARGETS[0]
    return Target("x", run, (KeyError,), kept.corpus, (1 << 16, 16), kept.mend, 1)  # type: ignore[arg-type]


def test_a_crash_and_a_glutton_are_caught_and_a_refusal_is_not() -> None:
    def crash(data: bytes) -> str:
        raise ZeroDivisionError("at the end")

    def refuse(data: bytes) -> str:
        raise KeyError("no")

    with pytest.raises(Failure, match="ZeroDivisionError: at the end"):
        check(_target(crash), b"x")
    with pytest.raises(Failure, match="bytes of memory for an input of 1"):
        check(_target(lambda data: str(len(bytearray(1 << 20)))), b"x")
    assert check(_target(refuse), b"x").startswith("refused")
