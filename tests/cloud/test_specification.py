"""The order of instance types, without any cloud: what is asked, what is left out, what comes last."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.cloud.alibaba.instance_types import ARM64, X86, Offer, Wanted, candidates
from connector.cloud.alibaba.market import GIB, Category
from simulator.cloud.stock import TYPES, Stock

STOCK = {kind.name: kind for kind in TYPES}


def ask(*names: str, asked: list[Wanted] | None = None):
    """A market that has these types in one zone."""

    def answer(wanted: Wanted) -> list[Offer]:
        if asked is not None:
            asked.append(wanted)
        kinds = [STOCK[name] for name in names]
        return [
            Offer("h", kind.name)
            for kind in kinds
            if wanted.cores in (None, kind.cores)
            and wanted.memory in (None, kind.memory)
            and wanted.type in ("", kind.name)
        ]

    return answer


def order(*names: str, architecture: str = "x86_64", wanted: str = "") -> list[str]:
    return [offer.type for offer in candidates(architecture, wanted, ask(*names))]


def test_r61_small_types_come_first_by_the_documented_order() -> None:
    assert [str(step) for step in X86] == [
        "1 vCPU and 2 GiB",
        "1 vCPU and 4 GiB",
        "2 vCPU and 2 GiB",
        "2 vCPU and 4 GiB",
        "family ecs.t6",
        "family ecs.t5",
        "2 vCPU and 8 GiB",
    ]
    one_of_each = (
        *("ecs.n4.small", "ecs.mn4.small", "ecs.t6-c1m1.large", "ecs.c6.large"),
        *("ecs.t6-c1m1.xlarge", "ecs.t5-c1m1.xlarge", "ecs.g6.large"),
    )
    assert order(*reversed(one_of_each)) == list(one_of_each)


def test_r62_arm64_has_a_list_of_types() -> None:
    listed = [
        *("ecs.c6r.large", "ecs.g6r.large", "ecs.c6r.xlarge", "ecs.g6r.xlarge"),
        *("ecs.c6r.2xlarge", "ecs.g6r.2xlarge", "ecs.c6r.4xlarge"),
    ]
    assert [step.type for step in ARM64] == listed
    assert order(*sorted(STOCK), architecture="arm64") == listed


def test_r63_then_anything_that_is_cheap_and_never_what_is_dear() -> None:
    left = ["ecs.c6.xlarge", "ecs.g6.2xlarge", "ecs.gn6i-c4g1.xlarge", "ecs.ebmg6.26xlarge", "ecs.r6.large"]
    assert order(*left) == ["ecs.r6.large", "ecs.c6.xlarge", "ecs.g6.2xlarge"]


def test_x4_a_type_that_was_asked_for_is_the_only_one() -> None:
    assert order(*STOCK, wanted="ecs.g6.2xlarge") == ["ecs.g6.2xlarge"]
    assert order("ecs.n4.small", wanted="ecs.g6.2xlarge") == []


def test_nothing_is_asked_before_it_is_needed() -> None:
    asked: list[Wanted] = []
    first = next(iter(candidates("x86_64", "", ask("ecs.n4.small", asked=asked))))
    assert (first.type, asked) == ("ecs.n4.small", [Wanted(1, 2.0)])


@given(st.sets(st.sampled_from(sorted(STOCK))), st.sampled_from(["x86_64", "arm64"]))
def test_every_type_comes_at_most_once_and_fits_the_processor(names: set[str], architecture: str) -> None:
    found = order(*sorted(names), architecture=architecture)
    assert len(set(found)) == len(found)
    assert set(found) <= names
    assert {STOCK[name].architecture for name in found} <= {architecture}
    plain = {n for n in names if STOCK[n].architecture == architecture and "gn6i" not in n and "ebm" not in n}
    assert architecture == "arm64" or set(found) == plain


@given(st.integers(1, 1 << 46), st.integers(0, 40), st.integers(0, 65536))
def test_r50_disks_are_whole_gibibytes_never_smaller_than_asked_for(size: int, least: int, most: int) -> None:
    found = Category("any", least, most).size(size)
    if found is None:
        assert (most and -(-size // GIB) > most) or least > most
    else:
        assert found * GIB >= size
        assert found == least or (found - 1) * GIB < size


@pytest.mark.parametrize("name", sorted(STOCK))
def test_the_simulated_stock_knows_its_families(name: str) -> None:
    assert STOCK[name].family.count(".") == 1
    assert Stock().offered(name, "cn-hangzhou-h")
