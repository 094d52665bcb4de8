"""Orders, progress and the ledger: pure, or one call deep."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.appliance.cleanup.ledger import ControlLedger
from connector.appliance.passes.order import order_from_json
from connector.appliance.progress import DiskProgress, PassProgress
from connector.clients.heartbeat import heard_from_json
from connector.errors import Conflict, ControlFailed, NotFound
from connector.model import Replication
from connector.transfer.codec import fixed_level
from tests.appliance.test_agent import order


def test_an_order_is_read_whole() -> None:
    body = order(1) | {
        "objects": [{"token": "t", "kind": "snapshot", "moref": None, "removed": False}],
        "final": True,
        "shutdown_deadline": 7,
        "replication": {"bandwidth_limit": 8, "compress_level": 10, "checksum": True},
    }
    read = order_from_json(body)
    assert (read.replication.rate, read.replication.compression, read.replication.checksum) == (
        1e6,
        "9",
        True,
    )
    assert order_from_json(order(1)).replication == Replication()
    assert (read.pass_id, read.final, read.shutdown_deadline) == ("p-1", True, 7.0)
    assert read.objects[0].moref is None
    assert "PRIVATE" not in repr(read)


@given(st.sampled_from(sorted(set(order(1)) - {"objects"})))
def test_an_order_without_a_field_is_refused(missing: str) -> None:
    body = {key: value for key, value in order(1).items() if key != missing}
    with pytest.raises(ControlFailed):
        order_from_json(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


def test_compress_levels_go_from_none_to_strong_and_the_default_one_adapts() -> None:
    levels = [fixed_level(str(Replication(compress_level=n).compression)) for n in range(11)]
    assert (levels[0], levels.pop(7)) == (0, None)
    assert levels[1:] == sorted(levels[1:])
    assert Replication().compression is None


@given(JSON, JSON)
def test_a_heartbeats_answer_of_the_wrong_shape_never_breaks_the_loop(
    stop: object, replication_of: object
) -> None:
    for body in (
        {"stop": stop, "replication": replication_of},
        {"stop": [], "replication": {"p": replication_of}},
        {"stop": [], "target": replication_of},
        {"stop": [], "target": {"most_disks": replication_of}},
    ):
        try:
            heard_from_json(body)
        except ControlFailed as refused:
            assert "\n" not in str(refused)


@given(st.sampled_from([*sorted(order(1)), "replication"]), JSON)
def test_an_order_of_the_wrong_shape_never_breaks_the_loop(name: str, value: object) -> None:
    try:
        order_from_json(order(1) | {name: value})
    except ControlFailed as refused:
        assert "\n" not in str(refused)


@given(st.lists(st.integers(-(1 << 40), 1 << 40), max_size=30))
def test_a_rate_is_never_negative_also_when_a_target_lost_what_it_had(steps: list[int]) -> None:
    board, done = PassProgress(), 0
    board.add(DiskProgress(2000, "Hard disk 1", 1 << 40))
    for step in steps:
        done = max(0, done + step)
        board.update(2000, done=done)
        ((disk,), _) = (board.read()[1], None)
        assert disk["done"] == done
        assert isinstance(disk["rate"], float)
        assert disk["rate"] >= 0.0


class _Recorder:
    """A control plane's memory of objects that refuses on demand."""

    def __init__(self, refusal: Exception | None = None) -> None:
        self.refusal = refusal
        self.seen: list[tuple[str, str, str | None, bool]] = []

    def record(
        self,
        pass_id: str,
        token: str,
        kind: str,
        moref: str | None,
        *,
        removed: bool = False,
        trouble: str = "",
    ) -> None:
        if self.refusal:
            raise self.refusal
        self.seen.append((pass_id, token, moref, removed))

    def shutting_down(self, pass_id: str) -> None:
        if self.refusal:
            raise self.refusal


def test_each_machine_writes_under_its_own_pass() -> None:
    recorder = _Recorder()
    ledger = ControlLedger(recorder)
    ledger.attach("vm-1", "p-1")
    ledger.attach("vm-2", "p-2")
    ledger.planned("vm-2", "t2")
    ledger.created("vm-1", "t1", "snapshot-1")
    ledger.removed("vm-1", "t1")
    assert recorder.seen == [
        ("p-2", "t2", None, False),
        ("p-1", "t1", "snapshot-1", False),
        ("p-1", "t1", None, True),
    ]


@pytest.mark.parametrize("refusal", [NotFound("no"), Conflict("not yours"), ControlFailed("away")])
def test_an_intent_that_cannot_be_recorded_is_an_error(refusal: Exception) -> None:
    ledger = ControlLedger(_Recorder(refusal))
    ledger.attach("vm-1", "p-1")
    with pytest.raises(type(refusal)):
        ledger.planned("vm-1", "t")


@pytest.mark.parametrize("refusal", [NotFound("no"), Conflict("not yours")])
def test_a_removal_is_a_fact_even_when_the_pass_is_not_ours_any_more(refusal: Exception) -> None:
    ledger = ControlLedger(_Recorder(refusal))
    ledger.attach("vm-1", "p-1")
    ledger.removed("vm-1", "t")


def test_readers_of_earlier_attempts_are_known_names_or_unknown() -> None:
    """They come from whatever another appliance reported, and we sign them."""
    body = order(1) | {"reader": "nfc", "read_by": {"2000": ["vddk", "nfc\nforged: true", "https"]}}
    read = order_from_json(body)
    assert (read.reader, read.read_by) == ("nfc", {"2000": ("vddk", "unknown", "https")})
    plain = order_from_json(order(1))
    assert (plain.reader, plain.read_by) == ("auto", {})
    with pytest.raises(ControlFailed):
        order_from_json(order(1) | {"read_by": ["vddk"]})
