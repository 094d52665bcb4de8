"""kill -9 of every part in every phase: the same command again resumes inside the disk, and the image is right."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.command import Command, Outcome
from tests.integration.conftest import Run, Start
from tests.integration.house import MIB, House, Shape, equal
from tests.processes import kill
from tests.waiting import PATIENCE

WINDOW = 4 * MIB
DISKS = ((24 * MIB, 20 * MIB), (3 * MIB + 512, MIB))
#: A kill must hit the process itself, at once, and not a stand-in that passes it on.
pytestmark = pytest.mark.cold

TERMINAL = """
import fcntl, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from connector.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
PARTS = ("appliance", "control", "instance", "worker", "cli")
#: (call in vCenter, how many of them pass first). Calls 0 of CreateSnapshot and RemoveSnapshot only switch CBT on.
MOMENTS = {
    "CBT": ("ReconfigVM_Task", 0),
    "stun snapshot": ("RemoveSnapshot_Task", 0),
    "snapshot": ("CreateSnapshot_Task", 1),
    "freezing": ("estate.freeze", 1),
    "removal": ("RemoveSnapshot_Task", 1),
    "consolidation": ("estate.consolidate", 1),
}


@pytest.fixture
def big(make_house: Callable[..., House]) -> House:
    """One machine whose first disk takes about three seconds to read."""
    house = make_house(Shape("web-01", DISKS))
    house.reader(bandwidth=7 * MIB)
    return house


@pytest.fixture
def begin(start: Start) -> Start:
    """`start` with a small window, so that little is ever sent twice."""
    return lambda words, **more: start(words, CONNECTOR_TRANSFER_IN_FLIGHT=str(WINDOW), **more)


def durable(command: Command) -> dict[int, int]:
    """Bytes of each disk that were reported durable, by device key."""
    events = (e for e in command.heard() if e.get("event") == "disk")
    return {event["key"]: event["done"] for event in events}


def resumed(house: House, begin: Start, words: list[str], image: str = "web-01") -> Outcome:
    """The same command again succeeds, leaves nothing, and the image is the machine."""
    house.reader()
    command = begin(words)
    outcome = command.wait()
    assert outcome.code == 0, outcome.stderr + outcome.stdout
    command.gone()
    equal(house, "web-01", image)
    assert not house.snapshots()
    return outcome


@pytest.mark.parametrize(
    "part", [pytest.param(part, marks=pytest.mark.slow) if part == "cli" else part for part in PARTS]
)
def test_invariant_9_r30_killed_in_the_middle_of_a_disk(big: House, begin: Start, part: str) -> None:
    first = begin(big.migration("web-01"))
    first.copied(0.3)
    first.kill(part)
    seen = durable(first)
    broken = first.wait()
    if broken.code == 0:  # carried on by itself
        assert part in ("instance", "worker")
        equal(big, "web-01", "web-01")
        rows = broken.disks()
    else:
        assert broken.code in (7, 8, 12, -signal.SIGKILL), broken.stderr
        first.gone()
        rows = resumed(big, begin, big.migration("web-01")).disks()
    for row in rows:
        assert row["read"] + (seen.get(row["key"], 0) if broken.code else 0) <= row["planned"] + WINDOW
    assert not big.snapshots()


@pytest.mark.parametrize(
    ("part", "moment"),
    [
        pytest.param("appliance", "CBT", marks=pytest.mark.slow),
        ("cli", "snapshot"),
        pytest.param("appliance", "freezing", marks=pytest.mark.slow),
        pytest.param("cli", "removal", marks=pytest.mark.slow),
        ("appliance", "consolidation"),
        *(
            pytest.param("cli", moment, marks=pytest.mark.slow)
            for moment in ("CBT", "freezing", "consolidation")
        ),
        *(pytest.param("appliance", moment, marks=pytest.mark.slow) for moment in ("snapshot", "removal")),
        *(pytest.param(part, "stun snapshot", marks=pytest.mark.slow) for part in ("appliance", "cli")),
    ],
)
def test_invariant_3_killed_at_a_call_to_vcenter(big: House, begin: Start, part: str, moment: str) -> None:
    big.reader()
    call, skip = MOMENTS[moment]
    command: list[Command] = []
    killed = big.witness.when(call, lambda: command[0].kill(part), skip=skip)
    command.append(begin(big.migration("web-01")))
    broken = command[0].wait()
    assert killed.wait(PATIENCE)
    assert broken.code in (12, -signal.SIGKILL)
    command[0].gone()
    resumed(big, begin, big.migration("web-01"))


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("part", ("control", "instance"))
def test_invariant_3_target_side_killed_at_a_call_to_vcenter(
    big: House, begin: Start, part: str, moment: str
) -> None:
    big.reader()
    call, skip = MOMENTS[moment]
    command: list[Command] = []
    killed = big.witness.when(call, lambda: command[0].kill(part), skip=skip)
    command.append(begin(big.migration("web-01")))
    broken = command[0].wait()
    assert killed.is_set()
    command[0].gone()
    if broken.code:
        resumed(big, begin, big.migration("web-01"))
    equal(big, "web-01", "web-01")
    assert not big.snapshots()


@pytest.mark.parametrize("part", ("control", "instance", "cli"))
def test_killed_while_the_image_is_made(big: House, begin: Start, part: str) -> None:
    big.reader()
    first = begin(big.migration("web-01"))
    deadline = time.monotonic() + PATIENCE
    while not list(big.out.glob("instances/*/data/images/.*.new")):
        assert first.process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    first.kill(part)
    broken = first.wait()
    first.gone()
    if broken.code:
        resumed(big, begin, big.migration("web-01"))
    equal(big, "web-01", "web-01")


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)],
    ids=lambda n: n.name,
)
def test_asked_to_stop_it_puts_the_snapshot_down_and_can_go_on(
    big: House, begin: Start, number: signal.Signals
) -> None:
    first = begin(big.migration("web-01"))
    first.copied(0.3)
    first.interrupt(number)
    seen = durable(first)
    stopped = first.wait()
    assert stopped.code == 130, stopped.stderr
    assert "again" in stopped.complaint
    assert "Traceback" not in stopped.stderr
    first.gone()
    assert not big.snapshots()
    for row in resumed(big, begin, big.migration("web-01")).disks():
        assert row["read"] + seen.get(row["key"], 0) <= row["planned"] + WINDOW


def test_invariant_9_the_snapshot_was_removed_by_hand_and_the_guest_wrote_meanwhile(
    big: House, begin: Start
) -> None:
    first = begin(big.migration("web-01", "--incremental"))
    first.copied(0.3)
    first.kill("appliance")  # first: it would give the snapshot back when its leash goes
    first.kill("cli")
    seen = durable(first)
    first.wait()
    first.gone()
    assert big.snapshots()
    vm = big.machine()
    big.estate.snapshots.remove_all(vm.moref)
    big.write(count=3)
    done = resumed(big, begin, big.migration("web-01", "--incremental"), "web-01_CYCLE_1")
    for row in done.disks():
        assert row["read"] + seen.get(row["key"], 0) <= row["planned"] + WINDOW + 3 * 2 * MIB


@pytest.mark.slow
@pytest.mark.parametrize("part", ("appliance", "instance", "cli"))
def test_invariant_9_a_comparing_pass_killed_in_the_middle_goes_on_inside_the_disk(
    big: House, begin: Start, run: Run, part: str
) -> None:
    big.reader()
    assert run(big.migration("web-01", "--incremental")).code == 0
    moref = big.machine().moref
    for wanted in (False, True):  # CBT is reset
        big.estate.hardware.set_change_tracking(moref, wanted)
        big.estate.snapshots.remove(moref, big.estate.snapshots.create(moref, "stun"))
    big.write(count=20)
    big.reader(bandwidth=7 * MIB)
    first = begin(big.migration("web-01", "--incremental"))

    # the appliance reads on until it has noticed that its instance is gone: up to a second on a loaded machine
    share, late = (0.6, 7 * MIB) if part == "instance" else (0.3, 0)

    def comparing(event: dict[str, Any]) -> bool:
        """The last pass's figures are shown until this one has some."""
        return event.get("state") == "compare" and event["done"] > share * event["wanted"] > MIB

    first.until(comparing)
    first.kill(part)
    seen = {e["key"]: e["done"] for e in first.heard() if e.get("state") == "compare"}
    broken = first.wait()
    if broken.code == 0:
        rows, image = broken.disks(), "web-01_CYCLE_2"
        equal(big, "web-01", image)
    else:
        first.gone()
        rows = resumed(big, begin, big.migration("web-01", "--incremental"), "web-01_CYCLE_2").disks()
    row = next(row for row in rows if row["key"] == big.machine().disks[0].key)
    assert row["kind"] == "compare"
    assert row["read"] + (seen[row["key"]] if broken.code else 0) <= row["planned"] + WINDOW + late
    assert row["wire"] < row["planned"] // 2


@pytest.mark.slow
def test_an_interrupted_delta_is_resumed_and_never_seen_in_an_image(
    big: House, begin: Start, run: Run
) -> None:
    big.reader()
    before = big.digests()
    assert run(big.migration("web-01", "--incremental")).code == 0
    big.write(count=20, size=64 * 1024)
    big.reader(bandwidth=MIB)
    delta = begin(big.migration("web-01", "--incremental"))
    delta.copied(0.3)
    delta.kill("cli")
    delta.wait()
    delta.gone()
    assert big.images() == {"web-01_CYCLE_1"}
    assert big.image("web-01_CYCLE_1") == before
    big.write(count=2)
    resumed(big, begin, big.migration("web-01", "--cutover"))
    assert big.image("web-01_CYCLE_1") == before


def test_a_cutover_killed_after_the_shutdown_ends_with_the_last_state(
    big: House, begin: Start, run: Run
) -> None:
    big.reader()
    assert run(big.migration("web-01", "--incremental")).code == 0
    big.write(count=20, size=64 * 1024)
    big.reader(bandwidth=MIB)
    last = begin(big.migration("web-01", "--cutover"))
    last.copied(0.2)
    last.kill("appliance")
    assert last.wait().code == 12
    last.gone()
    done = resumed(big, begin, big.migration("web-01", "--cutover"))
    assert done.result()["status"] == "Finished"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_killed_again_and_again_at_random_moments(big: House, begin: Start, seed: int) -> None:
    """Exit code 0 only ever stands beside an image that equals its source, whatever was killed how often before."""
    source = random.Random(seed)
    for _ in range(3):
        command = begin(big.migration("web-01", "--cutover"))
        timer = time.monotonic() + source.uniform(1.0, 9.0)
        while time.monotonic() < timer and command.process.poll() is None:
            time.sleep(0.02)
        for one in command.processes(source.choice(PARTS)):
            kill(one)
        outcome = command.wait()
        command.gone()
        if outcome.code == 0:
            break
    else:
        resumed(big, begin, big.migration("web-01", "--cutover"))
    equal(big, "web-01", "web-01")
    assert not big.snapshots()


def test_a_closed_terminal_puts_the_snapshot_down(big: House, begin: Start) -> None:
    """The window is closed: SIGHUP, and nobody to write to any more."""
    terminal, theirs = os.openpty()
    asked = big.witness.when("RemoveSnapshot_Task", lambda: None, skip=1)
    with subprocess.Popen(
        [sys.executable, "-c", TERMINAL, *[w for w in big.migration("web-01") if w != "--json"]],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        shown = b""
        while b"copying" not in shown:
            shown += os.read(terminal, 65536)
        os.close(terminal)
        # whichever it notices first: the signal, or that nobody reads
        assert process.wait(PATIENCE) in (1, 130)
    assert asked.wait(PATIENCE)
    deadline = time.monotonic() + PATIENCE
    while big.snapshots() and time.monotonic() < deadline:
        time.sleep(0.05)
    resumed(big, begin, big.migration("web-01"))


def test_a_reader_of_the_output_that_goes_away(big: House, begin: Start) -> None:
    """As in `connector migrate ... | head -1`."""
    first = begin(big.migration("web-01"))
    first.copied(0.1)
    assert first.process.stdout is not None
    first.deaf()
    assert first.process.wait(PATIENCE) != 0
    first.gone()
    assert not big.snapshots()
    assert "Traceback" not in first.wait().stderr
    resumed(big, begin, big.migration("web-01"))
