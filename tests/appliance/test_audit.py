"""CBT that loses writes, as known defects made it, is caught by the audit, and never goes into an image."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from connector.errors import ChangesMissed
from simulator.faults import Rule
from tests.appliance.context import CELL, MIB, Bench, context
from tests.transfer.conftest import make_job

KEY = 2000


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with context(tmp_path_factory.mktemp("audit"), make_job("audit")) as made:
        yield made


@pytest.fixture
def web(shared: Bench) -> Bench:
    """A finished base."""
    shared.house.witness.replace([])
    shared.run()
    return shared


def lose(web: Bench, at: int, data: bytes) -> None:
    """The guest writes, and CBT does not see it."""
    web.house.witness.add(Rule("estate.track", "answer", answer={"lose": True}))
    web.house.estate.power.write(web.house.machine().moref, KEY, at, data)


def test_one_lost_write_is_caught_at_a_hundred_per_cent_and_compared_next(web: Bench) -> None:
    web.house.write(count=2)
    lose(web, 3 * MIB, b"lost" * 128)
    with pytest.raises(ChangesMissed) as caught:
        web.run(web.order(audit=1.0))
    assert f"[{3 * MIB}, {3 * MIB + CELL})" in str(caught.value)
    assert str(caught.value).startswith("web-01 Hard disk 1: CBT missed a write")
    assert caught.value.exit_code == 10
    assert not web.house.snapshots()
    state = web.instance.endpoint.disk(str(KEY))
    assert state["doubt"] and state["settled"]  # nothing was begun
    rows = web.run()
    web.equal()
    assert rows[KEY]["kind"] == "compare"
    assert "CBT missed a write" in rows[KEY]["note"]
    assert rows[2001]["kind"] == "delta"
    web.house.write(count=2)
    assert {row["kind"] for row in web.run(web.order(audit=1.0)).values()} == {"delta"}
    web.equal()


def test_an_honest_cbt_passes_and_the_audit_is_on_record(web: Bench) -> None:
    web.house.write(count=3)
    rows = web.run()
    web.equal()
    found = rows[KEY]["audit"]
    assert (found["share"], found["missed"]) == (0.001, [])
    assert 0 < found["cells"] == 8
    assert isinstance(found["seed"], int)
    assert web.run(web.order(audit=0.0))[KEY]["audit"] is None


def test_a_lost_write_that_the_share_does_not_hit_waits_for_a_later_audit(web: Bench) -> None:
    """The target then is not the source: what the share means is a probability, not a promise."""
    lose(web, 3 * MIB, b"gone" * 128)
    web.run(web.order(audit=0.0))
    assert web.target(KEY).read_bytes() != web.house.content()[KEY]
    with pytest.raises(ChangesMissed):
        web.run(web.order(audit=1.0))
    web.run()
    web.equal()


def test_rot_in_a_digest_table_is_not_blamed_on_cbt(web: Bench) -> None:
    content = web.house.content()[KEY]
    at = next(at for at in range(0, len(content), CELL) if any(content[at : at + CELL]))
    web.flip(KEY, at // CELL * 32 + 3, name="digests")
    row = web.run(web.order(audit=1.0))[KEY]
    web.equal()
    assert (row["kind"], row["audit"]["missed"]) == ("delta", [])
    assert "1 in its digest table" in row["note"]
