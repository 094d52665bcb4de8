"""A worker fails alone: whatever happens to it is a typed error at once, and nothing of it stays behind."""

import gc
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from tests.vddk.estate import (
    CAPACITY,
    COOKIE,
    PASSWORD,
    SMALL,
    SMALL_PATH,
    USER,
    Estate,
    build,
    mapped_blocks,
)
from tests.waiting import PATIENCE
from vddk import process
from vddk.errors import (
    AuthenticationFailed,
    BadSetting,
    ConnectionRefused,
    HostUnavailable,
    LibraryPanicked,
    NameUnresolved,
    NetworkFailure,
    NotFound,
    OutOfResources,
    SessionExpired,
    UntrustedServer,
    VixError,
    WorkerDied,
    WorkerTimedOut,
)
from vddk.spec import Extent, Installation, SessionCookie, UserPassword
from vddk.worker import WorkerDisk, open_in_worker, release_in_worker

MIB = 1 << 20


def opened(
    installation: Installation, estate: Estate, depth: int = 4, deadline: float | None = None
) -> WorkerDisk:
    return WorkerDisk(installation, estate.spec(), depth, deadline)


@pytest.fixture
def stubborn(estate: Estate, tmp_path: Path) -> Installation:
    """The third read of every worker never ends."""
    return estate.installation(tmp_path / "vddk", faults="hang on=read at=3")


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_a_killed_worker_is_a_typed_error_at_once(
    blow: signal.Signals, estate: Estate, stubborn: Installation, no_leaks: None
) -> None:
    disk = opened(stubborn, estate)
    shared = disk.buffers(4, MIB)
    for token in range(4):
        disk.submit(token * MIB, shared[token], token)
    struck: list[float] = []

    def strike() -> None:
        struck.append(time.monotonic())
        os.kill(disk.pid, blow)

    threading.Timer(0.2, strike).start()
    with pytest.raises(WorkerDied) as caught:
        while True:
            assert disk.completions()
    assert time.monotonic() - struck[0] < PATIENCE, "nobody waited for it"
    assert caught.value.signal == blow and caught.value.retryable
    assert estate.spec().path in str(caught.value)
    with pytest.raises(WorkerDied):
        disk.read_into(0, bytearray(512))
    with pytest.raises(WorkerDied):
        list(disk.allocated(0, MIB))
    pid = disk.pid
    disk.close()
    assert not psutil.pid_exists(pid)
    del shared
    gc.collect()


def test_a_worker_can_be_killed_between_calls(
    installation: Installation, estate: Estate, no_leaks: None
) -> None:
    disk = opened(installation, estate)
    disk.cancel()
    with pytest.raises(WorkerDied) as caught:
        while True:
            disk.read_into(0, bytearray(MIB))
    assert caught.value.status == -signal.SIGKILL
    disk.close()


def test_memory_that_could_not_be_shared_is_given_back(
    installation: Installation, estate: Estate, no_leaks: None
) -> None:
    disk, before = opened(installation, estate), mapped_blocks()
    disk.cancel()
    os.waitid(os.P_PID, disk.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(WorkerDied) as caught:
        disk.buffers(1, MIB)
    assert caught.tb is not None
    assert mapped_blocks() <= before  # memory of earlier tests may still wait for the collector
    disk.close()


@pytest.mark.parametrize(
    ("faults", "kind", "status"),
    [
        ("panic on=read at=2", LibraryPanicked, 86),
        ("segv on=read at=2", WorkerDied, -signal.SIGSEGV),
        ("abort on=query", WorkerDied, -signal.SIGABRT),
        ("exit on=read", WorkerDied, None),
    ],
)
def test_a_library_that_ends_its_process(
    faults: str, kind: type[WorkerDied], status: int | None, estate: Estate, tmp_path: Path, no_leaks: None
) -> None:
    disk = opened(estate.installation(tmp_path / "vddk", faults=faults), estate)
    with pytest.raises(kind) as caught:
        disk.read_into(0, bytearray(8 * MIB))
        list(disk.allocated(0, CAPACITY))
    assert type(caught.value) is kind
    assert status is None or caught.value.status == status
    assert caught.value.lines
    disk.close()


@pytest.mark.parametrize("call", ["init", "connect", "open"])
def test_a_crash_while_opening(call: str, estate: Estate, tmp_path: Path, no_leaks: None) -> None:
    with pytest.raises(WorkerDied) as caught:
        opened(estate.installation(tmp_path / "vddk", faults=f"segv on={call}"), estate)
    assert caught.value.signal == signal.SIGSEGV
    assert call == "init" or "VixDiskLib" in str(caught.value)


@pytest.mark.parametrize("call", ["open", "query"])
def test_a_hanging_call_is_bounded(call: str, estate: Estate, tmp_path: Path, no_leaks: None) -> None:
    hanging = estate.installation(tmp_path / "vddk", faults=f"hang on={call}")
    began = time.monotonic()
    with pytest.raises(WorkerTimedOut) as caught, opened(hanging, estate, deadline=0.5) as disk:
        list(disk.allocated(0, CAPACITY))
    assert time.monotonic() - began < PATIENCE
    assert caught.value.retryable


def test_hanging_reads_are_bounded(estate: Estate, stubborn: Installation, no_leaks: None) -> None:
    disk = opened(stubborn, estate, deadline=1.5)
    with pytest.raises(WorkerTimedOut) as caught:
        disk.read_into(0, bytearray(8 * MIB))
    assert caught.value.call == "read"
    disk.close()
    assert not psutil.pid_exists(disk.pid)


def test_queueing_never_waits_for_a_stopped_worker(
    installation: Installation, estate: Estate, no_leaks: None
) -> None:
    disk = opened(installation, estate, depth=256, deadline=8)
    memory = disk.buffers(1, 512)[0]
    assert disk.completions(timeout=0) == []
    os.kill(disk.pid, signal.SIGSTOP)
    for token in range(256):  # one that waited would end with WorkerTimedOut
        disk.submit(token * 512, memory, token)
    assert disk.completions(timeout=0) == []
    with pytest.raises(WorkerTimedOut):
        disk.completions()
    disk.close()
    del memory
    gc.collect()


def test_a_deadline_does_not_strike_an_idle_disk(installation: Installation, estate: Estate) -> None:
    with opened(installation, estate, deadline=4) as disk:
        memory = disk.buffers(1, MIB)[0]
        disk.submit(0, memory, 1)
        threading.Event().wait(4.1)
        assert [completion.token for completion in disk.completions()] == [1]
        disk.read_into(0, memory)
        assert disk.completions(timeout=0) == []


def test_completions_keep_their_timeout(estate: Estate, tmp_path: Path) -> None:
    with opened(estate.installation(tmp_path / "vddk", read_us=1_000_000), estate) as disk:
        disk.submit(0, disk.buffers(1, 512)[0], 5)
        began = time.monotonic()
        assert disk.completions(timeout=0.1) == []
        assert time.monotonic() - began > 0.09
        assert [completion.token for completion in disk.completions(timeout=PATIENCE)] == [5]


def test_one_failing_read_fails_alone(estate: Estate, tmp_path: Path) -> None:
    failing = estate.installation(tmp_path / "vddk", faults="error on=read at=2 code=14011", high_bits=1)
    with opened(failing, estate) as disk:
        shared = disk.buffers(3, MIB)
        ended: dict[int, object] = {}
        for token in range(3):
            disk.submit(token * MIB, shared[token], token)
        while len(ended) < 3:
            ended |= dict(disk.completions())
        errors = [error for error in ended.values() if error is not None]
        assert len(errors) == 1
        assert isinstance(errors[0], NetworkFailure) and errors[0].retryable
        assert errors[0].value > 0xFFFF and errors[0].code == 14011 and errors[0].text
        disk.read_into(0, shared[0])
        assert shared[0] == estate.truth[:MIB]


def test_a_failing_piece_fails_the_waiting_read(estate: Estate, tmp_path: Path) -> None:
    with opened(estate.installation(tmp_path / "vddk", faults="error on=read at=3 code=2"), estate) as disk:
        memory = bytearray(8 * MIB)
        with pytest.raises(OutOfResources):
            disk.read_into(0, memory)
        disk.read_into(0, memory)
        assert memory == estate.truth[: 8 * MIB]


def test_a_host_without_memory_is_known_by_its_log(estate: Estate, tmp_path: Path) -> None:
    full = estate.installation(tmp_path / "vddk", nfc_memory=2 * MIB, read_us=20_000)
    with opened(full, estate, depth=8) as disk, pytest.raises(OutOfResources) as caught:
        disk.read_into(0, bytearray(8 * MIB))
    assert "NFC error 5" in str(caught.value) and caught.value.retryable


def test_its_own_exit_handler_does_not_hide_how_a_worker_ended(estate: Estate, tmp_path: Path) -> None:
    installation = estate.installation(tmp_path / "vddk", exit_zero=1, faults="panic on=read", exit_ms=50)
    disk = opened(installation, estate)
    with pytest.raises(LibraryPanicked):
        disk.read_into(0, bytearray(512))
    disk.close()


def test_a_storage_that_cannot_tell(estate: Estate, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with opened(estate.installation(tmp_path / "vddk", query="unsupported"), estate) as disk:
        assert list(disk.allocated(512, CAPACITY - 512)) == [Extent(512, CAPACITY - 512)]
        assert list(disk.allocated(MIB, 512)) == [Extent(MIB, 512)]
    with opened(estate.installation(tmp_path / "vddk", query="empty"), estate) as disk:
        whole = CAPACITY - CAPACITY % 65536
        assert list(disk.allocated(0, CAPACITY)) == [Extent(whole, CAPACITY - whole)]
        assert list(disk.allocated(0, MIB)) == []


def test_a_broken_connection_is_no_reason_to_read_everything(estate: Estate, tmp_path: Path) -> None:
    broken = estate.installation(tmp_path / "vddk", faults="error on=query code=14011")
    with opened(broken, estate) as disk, pytest.raises(NetworkFailure):
        list(disk.allocated(0, CAPACITY))


def test_what_opening_says(installation: Installation, estate: Estate, no_leaks: None) -> None:
    def refused(kind: type[VixError], path: str = estate.spec().path, **connection: object) -> VixError:
        with pytest.raises(kind) as caught:
            open_in_worker(installation, estate.spec(path, **connection))  # type: ignore[arg-type]
        return caught.value

    assert refused(NotFound, "[store one] nowhere.vmdk").code == 4
    assert refused(AuthenticationFailed, credentials=UserPassword(USER, "wrong")).code == 35
    assert refused(SessionExpired, credentials=SessionCookie("gone", USER)).code == 3047
    assert "thumbprint" in str(refused(UntrustedServer, thumbprint=":".join(["00"] * 20)))
    refused(VixError, vm_moref="vm-404")


@pytest.mark.parametrize(
    ("state", "kind"),
    [("maintenance", HostUnavailable), ("refused", ConnectionRefused), ("unresolved", NameUnresolved)],
)
def test_what_a_host_in_trouble_says(
    state: str, kind: type[VixError], installation: Installation, estate: Estate
) -> None:
    hosts = estate.root / "hosts"
    hosts.write_text(f"vm-16\t{state}\n")
    try:
        with pytest.raises(kind):
            open_in_worker(installation, estate.spec())
    finally:
        hosts.unlink()


def test_a_session_cookie_opens_and_prepare_may_fail(
    estate: Estate, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    installation = estate.installation(tmp_path / "vddk", prepare_code=13)
    with open_in_worker(installation, estate.spec(credentials=SessionCookie(COOKIE, USER))) as disk:
        assert disk.info.capacity == CAPACITY
    warned = [record for record in caplog.records if "PrepareForAccess" in record.getMessage()]
    assert warned and warned[0].levelno == logging.WARNING


@pytest.mark.parametrize("credentials", [UserPassword(USER, PASSWORD), SessionCookie(COOKIE, USER, PASSWORD)])
def test_secrets_stay_out_of_sight(
    credentials: UserPassword | SessionCookie,
    estate: Estate,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, logger="vddk")
    spec = estate.spec(credentials=credentials)
    careless = estate.installation(tmp_path / "vddk", log_secrets=1)
    with WorkerDisk(careless, spec, 4) as disk:
        child = psutil.Process(disk.pid)
        seen = [*child.cmdline(), *child.environ().values(), repr(spec), caplog.text]
        disk.cancel()
        with pytest.raises(WorkerDied) as caught:
            disk.metadata()
            disk.metadata()
        seen += [str(caught.value), repr(caught.value)]
    assert "***" in caplog.text
    for secret in (PASSWORD, COOKIE):
        assert not any(secret in text for text in seen)


def test_log_lines_arrive_in_the_parent(
    installation: Installation, estate: Estate, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="vddk")
    opened(installation, estate).close()
    lines = [record for record in caplog.records if record.name == "vddk.library"]
    assert any("VMware VixDiskLib (8.0.3)" in record.getMessage() for record in lines)
    noise = [record.levelno for record in lines if "PhoneHome" in record.getMessage()]
    assert noise and set(noise) == {logging.DEBUG}


def test_the_worker_dies_with_its_parent(installation: Installation, estate: Estate, tmp_path: Path) -> None:
    """Killed, it says no goodbye; the worker still closes the disk, unlocks the machine, leaves no file."""
    program = (
        "import sys, pickle, pathlib, time, tempfile; tempfile.tempdir = sys.argv[3]\n"
        "from vddk.worker import WorkerDisk\n"
        "installation, spec = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())\n"
        "disk = WorkerDisk(installation, spec, 4)\n"
        "print(disk.pid, flush=True)\n"
        "disk.submit(0, disk.buffers(1, 1 << 20)[0], 1)\n"
        "time.sleep(60)\n"
    )
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (tmp_path / "args").write_bytes(pickle.dumps((installation, estate.spec())))
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "args"), "-", str(scratch)], stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    child.wait(timeout=PATIENCE)
    assert list(scratch.iterdir()) == []


def test_a_dropped_disk_leaves_nothing(installation: Installation, estate: Estate, no_leaks: None) -> None:
    for _ in range(3):
        with opened(installation, estate) as disk:
            held = disk.buffers(2, MIB)
            disk.read_into(0, held[0])
        assert not psutil.pid_exists(disk.pid)
        assert held[0] == estate.truth[:MIB], "memory stays readable as long as somebody holds it"
        del held
        del disk
        gc.collect()


def test_a_child_cannot_take_memory_away(installation: Installation, estate: Estate) -> None:
    with opened(installation, estate) as disk:
        disk.read_into(0, disk.buffers(1, MIB)[0])
        maps = Path(f"/proc/{disk.pid}/maps").read_text()
        assert "memfd:vddk-blocks" in maps
        descriptors = [entry.readlink() for entry in Path(f"/proc/{disk.pid}/fd").iterdir()]
        assert len([name for name in descriptors if "memfd:vddk" in str(name)]) <= 1


def test_the_child_binds_to_no_openssl(installation: Installation, estate: Estate) -> None:
    room = Path(process.__file__).parent.parent
    program = f"import sys; sys.path.append({str(room)!r}); import vddk.worker_child; print(*sys.modules)"
    names = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"ssl", "_ssl", "_hashlib", "requests", "pyVmomi"} & set(names)
    with opened(installation, estate) as disk:
        child = psutil.Process(disk.pid)
        assert child.environ()["LD_LIBRARY_PATH"].split(":")[0] == f"{installation.directory}/lib64"
        assert not any(
            "libssl" in region.path or "libcrypto" in region.path for region in child.memory_maps()
        )


def test_release_undoes_what_a_killed_worker_left(tmp_path: Path, no_leaks: None) -> None:
    """The stand-in keeps the lock of a machine in a file, as vCenter keeps it in its database."""
    estate = build(tmp_path / "root")
    installation = estate.installation(tmp_path / "vddk")
    marks = estate.root / "vm-16" / ".access"
    with opened(installation, estate) as disk:
        assert len(list(marks.iterdir())) == 1
        disk.cancel()
    assert len(list(marks.iterdir())) == 1
    assert release_in_worker(installation, estate.spec()) == 0
    assert list(marks.iterdir()) == []


def test_disks_of_one_machine_lock_it_apart(tmp_path: Path) -> None:
    estate = build(tmp_path / "root")
    installation = estate.installation(tmp_path / "vddk")
    marks = estate.root / "vm-16" / ".access"
    with opened(installation, estate):
        open_in_worker(installation, estate.spec(SMALL_PATH)).close()
        assert len(list(marks.iterdir())) == 1


def test_a_disk_smaller_than_a_chunk(installation: Installation, estate: Estate) -> None:
    with open_in_worker(installation, estate.spec(SMALL_PATH)) as disk:
        assert list(disk.allocated(0, SMALL)) == [Extent(0, SMALL)]
        memory = bytearray(SMALL)
        disk.read_into(0, memory)
        assert any(memory) and disk.info.adapter == "ide"


def test_settings_are_checked(installation: Installation, estate: Estate) -> None:
    for depth in (0, 257):
        with pytest.raises(BadSetting):
            open_in_worker(installation, estate.spec(), depth)


def test_deepest(installation: Installation, estate: Estate) -> None:
    with open_in_worker(installation, estate.spec(), 256) as disk:
        shared = disk.buffers(256, 65536)
        for token in range(256):
            disk.submit(token * 65536, shared[token], token)
        seen: set[int] = set()
        while len(seen) < 256:
            seen |= {completion.token for completion in disk.completions()}
        assert all(shared[t] == estate.truth[t * 65536 : (t + 1) * 65536] for t in range(256))


CLOSED = """
import pickle, sys
from pathlib import Path
from tests.vddk.contract import DEPTH, closes_once_and_for_good
from vddk.spec import Installation
from vddk.worker import open_in_worker
estate = pickle.loads(Path(sys.argv[1]).read_bytes())
with open_in_worker(Installation(Path(sys.argv[2])), estate.spec(), DEPTH) as disk:
    closes_once_and_for_good(disk, estate)
"""


def test_a_closed_disk_refuses_also_where_python_leaves_assertions_out(
    installation: Installation, estate: Estate, tmp_path: Path
) -> None:
    (tmp_path / "estate").write_bytes(pickle.dumps(estate))
    run = subprocess.run(
        [sys.executable, "-O", "-c", CLOSED, str(tmp_path / "estate"), str(installation.directory)],
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
