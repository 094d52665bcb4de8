"""Every broken rule ends the process with a line that names the call and the rule."""

import shutil
import signal
from collections.abc import Callable

import pytest

from tests.vixdisklib.client import Client
from tests.vixdisklib.conftest import Start
from tests.vixdisklib.estate import PATH, Estate

Scenario = Callable[[Client], object]

pytestmark = pytest.mark.usefixtures("layers")


def _init_twice(client: Client) -> None:
    client.init()
    client.init()


def _exit_twice(client: Client) -> None:
    client.init()
    client.do("exit")
    client.do("exit")


def _alien_params(client: Client) -> None:
    client.init()
    client.do("params", 0, "calloc", "vc", "moref=vm-16", "-", 1, "svc", "secret")
    client.do("connect", 0, 0, "-", "-")


def _freed_params(client: Client) -> None:
    client.init()
    client.do("params", 0, "allocate", "-", "-", "-")
    client.do("free-params", 0)
    client.do("free-params", 0)


def _end_without_prepare(client: Client) -> None:
    client.opened().do("prepare", 0, "one")
    client.do("end", 0, "two")


def _prepare_without_end(client: Client) -> None:
    client.opened().do("prepare", 0, "one")
    for command in (["close", 0], ["disconnect", 0], ["free-params", 0], ["exit"]):
        client.do(*command)


def _close_in_flight(client: Client) -> None:
    client.opened().do("aread", 0, 0, 1, "-")
    client.do("close", 0)


def _disconnect_in_flight(client: Client) -> None:
    client.opened().do("aread", 0, 0, 1, "-")
    client.do("disconnect", 0)


def _use_closed(client: Client) -> None:
    client.opened().do("close", 0)
    client.open(1)
    client.do("read", 0, 0, 1, "-")


def _use_disconnected(client: Client) -> None:
    client.opened().do("disconnect", 0)
    client.do("read", 0, 0, 1, "-")


def _open_disconnected(client: Client) -> None:
    client.opened().do("disconnect", 0)
    client.open(1)


def _free_info_twice(client: Client) -> None:
    client.opened().do("info", 0, "keep")
    client.do("free-twice")


def _null_loggers_from_thread(client: Client) -> None:
    client.do("init", client.install, "-", "null")
    client.connect()
    client.do("thread-open", 0, PATH)


HAZARDS: list[tuple[str, Scenario, str]] = [
    ("init twice", _init_twice, "VixDiskLib_InitEx: called a second time"),
    ("before init", lambda client: client.do("modes"), "ListTransportModes: called before VixDiskLib_InitEx"),
    ("after exit", _exit_twice, "VixDiskLib_Exit: called after VixDiskLib_Exit"),
    ("alien params", _alien_params, "VixDiskLib_ConnectEx: connect params whose state was not set"),
    ("params freed twice", _freed_params, "FreeConnectParams: 0x"),
    ("end without prepare", _end_without_prepare, "EndAccess: no matching VixDiskLib_PrepareForAccess"),
    ("prepare without end", _prepare_without_end, "Exit: 1 VixDiskLib_PrepareForAccess without"),
    ("close in flight", _close_in_flight, "Close: 1 requests in flight on [ds one]"),
    (
        "disconnect in flight",
        _disconnect_in_flight,
        "Disconnect: a disk of this connection has I/O in flight",
    ),
    ("closed handle", _use_closed, "Read: this disk handle was closed before"),
    ("handle of a lost connection", _use_disconnected, "Read: the connection of this disk handle ([ds one]"),
    ("lost connection", _open_disconnected, "Open: this connection was disconnected before"),
    ("info freed twice", _free_info_twice, "FreeInfo: 0x"),
    ("alien block list", lambda client: client.opened().do("free-alien"), "FreeBlockList: 0x"),
    ("call in callback", lambda client: client.opened().do("callback", 0), "from inside a callback"),
    ("two readers", lambda client: client.opened().do("race-read", 0), "Read: concurrent call on one handle"),
    (
        "overlapping opens",
        lambda client: client.opened().do("race-open", 0, PATH),
        "overlaps an Open or Close",
    ),
    ("null loggers", _null_loggers_from_thread, "Open: a threaded program passed NULL loggers"),
    (
        "leaks",
        lambda client: client.opened().do("exit"),
        "leaked 1 connection, 1 disk handle, 1 connect params",
    ),
]


@pytest.mark.parametrize(
    ("scenario", "message"), [row[1:] for row in HAZARDS], ids=[row[0] for row in HAZARDS]
)
def test_a_broken_rule_ends_the_process(start: Start, scenario: Scenario, message: str) -> None:
    client = start(read_us=5000, open_ms=5)
    scenario(client)
    assert client.finish() == -signal.SIGABRT
    lines = client.log().splitlines()
    own = next(line for line in lines if line.startswith("vixDiskLib stand-in: "))
    assert message in own
    told = [line for line in lines if line.startswith("panic ") and message in line]
    assert len(told) == ("NULL" not in message and "before VixDiskLib_InitEx" not in message)


@pytest.mark.parametrize(
    ("keep", "name"),
    [
        (["info", 0, "keep"], "disk info"),
        (["query", 0, 0, 128, 128, "keep"], "block list"),
        (["text", 5, "keep"], "error text"),
    ],
)
def test_each_kind_of_leak_is_named(start: Start, keep: list[object], name: str) -> None:
    client = start().opened()
    client.do(*keep)
    for command in (["close", 0], ["disconnect", 0], ["free-params", 0], ["exit"]):
        client.do(*command)
    assert client.finish() == -signal.SIGABRT
    assert f"VixDiskLib_Exit: leaked 1 {name}" in client.log()


@pytest.mark.parametrize("how", ["fork", "clone"])
def test_a_forked_child_may_not_use_the_library_and_its_parent_still_may(start: Start, how: str) -> None:
    client = start().opened()
    assert client.do(how, 0, PATH) == f"signal {int(signal.SIGABRT)}"
    assert "VixDiskLib_Open: used after fork" in client.log()
    assert client.do("read", 0, 0, 1, "-") == "0"


def test_a_program_of_one_thread_may_pass_null_loggers(start: Start) -> None:
    client = start(noise=0)
    assert client.do("init", client.install, "-", "null") == "0"
    assert client.connect() == "0"
    assert client.open() == "0"


def test_rules_that_can_be_relaxed(start: Start) -> None:
    client = start(check_leaks=0, null_loggers=1, callback_calls=1)
    client.do("init", client.install, "-", "null")
    client.connect()
    client.open()
    assert client.do("read", 0, 0, 1, "-") == "0"
    assert client.do("exit") == "0"
    assert client.finish() == 3


def test_access_marks_survive_the_process_and_another_one_ends_them(start: Start) -> None:
    first = start().opened()
    first.do("prepare", 0, "job/1")
    first.kill()
    second = start().opened()
    assert second.do("end", 0, "job/1") == "0"
    second.do("end", 0, "job/1")
    assert second.finish() == -signal.SIGABRT


def test_cleanup_removes_the_marks_of_dead_processes_only(start: Start) -> None:
    dead = start().opened()
    dead.do("prepare", 0, "dead")
    dead.kill()
    living = start().opened()
    living.do("prepare", 0, "living")
    assert living.do("cleanup", 0) == "3 0 0"
    living.do("params", 1, "allocate", "vc", "-", "-", 1, "svc", "secret")
    assert living.do("cleanup", 1) == "0 1 1"
    assert living.do("end", 0, "living") == "0"


@pytest.mark.parametrize("cleared", ["vm-16/.access", "prepared"])
def test_marks_that_somebody_clears_do_not_turn_end_access_into_a_crash(
    start: Start, estate: Estate, cleared: str
) -> None:
    client = start().opened()
    client.do("prepare", 0, "job")
    shutil.rmtree(estate.root / cleared)
    assert client.do("end", 0, "job") == "0"
    assert client.do("prepare", 0, "job") == "0"
    assert client.do("prepare", 0, "job") == "0"
    assert client.do("end", 0, "job") == "0"
    shown = estate.root / "vm-16" / ".access" / b"job".hex()
    assert shown.samefile(estate.root / "prepared" / f"vm-16@{b'job'.hex()}")
    assert client.do("end", 0, "job") == "0"
    assert not shown.exists()


def test_threads_may_be_held_to_the_stricter_rules(start: Start) -> None:
    client = start(query_thread=1).opened()
    client.do("thread-query", 0)
    assert client.finish() == -signal.SIGABRT
    assert "QueryAllocatedBlocks: not on the thread that opened [ds one]" in client.log()
    client = start(main_thread=1)
    client.do("thread-init", client.install)
    assert client.finish() == -signal.SIGABRT
    assert "InitEx: not called on the main thread" in client.log()
    client = start()
    assert client.do("thread-init", client.install) == "0"
    client.connect()
    client.open()
    assert client.do("thread-query", 0) == "0"
