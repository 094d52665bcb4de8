"""Hostile bytes for every reader: a refusal as documented, never a crash, never more memory than the input may cost."""

from __future__ import annotations

import os
import time
from itertools import islice
from random import Random

import pytest

from tests.fuzz.mutation import Failure, Hunt, check, mutated
from tests.fuzz.targets import TARGETS, Target

SECONDS = float(os.environ.get("FUZZ_SECONDS") or 60)
SEED = int(os.environ.get("FUZZ_SEED") or 1)


@pytest.mark.fuzz
@pytest.mark.timeout(0)
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_hostile_bytes_for_as_long_as_wanted(target: Target, capsys: pytest.CaptureFixture[str]) -> None:
    hunt, end = Hunt(target, SEED), time.monotonic() + SECONDS
    try:
        for _ in hunt:
            if time.monotonic() > end:
                break
    except Failure as failure:
        file = failure.keep()
        told = f"{failure} (FUZZ_SEED={SEED}, input {hunt.tried}); kept as {file}, commit it with the mending"
        pytest.fail(told)
    with capsys.disabled():
        print(f" {target.name}: {hunt.tried} inputs, {len(hunt.known)} kinds of answer, seed {SEED}", end="")
    assert hunt.tried > 100 and len(hunt.known) > 5


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_what_failed_once_is_read_for_ever(target: Target) -> None:
    inputs = target.inputs()
    assert inputs
    for data in inputs:
        check(target, data)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_some_hostile_bytes_every_time(target: Target) -> None:
    hunt = Hunt(target, 0)
    assert len(list(islice(hunt, target.few))) == hunt.tried == target.few
    assert len(hunt.known) > 3


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_the_same_seed_makes_the_same_inputs(target: Target) -> None:
    first, second = ([*islice(Hunt(target, 3), target.few // 5)] for _ in range(2))
    assert first == second
    pool = target.inputs()
    assert mutated(Random(4), pool, target) != mutated(Random(5), pool, target)


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
