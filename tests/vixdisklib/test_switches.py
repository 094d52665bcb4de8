"""Each switch does what its line in the table says, from the file and from the environment."""

import signal
import time
from pathlib import Path
from typing import Any

import pytest

from simulator.vixdisklib import install, switches
from simulator.vixdisklib.switches import markdown
from tests.vixdisklib.conftest import Start
from tests.vixdisklib.estate import Estate, Layer, reference

pytestmark = pytest.mark.usefixtures("layers")


@pytest.mark.generated
def test_the_documentation_has_the_table() -> None:
    page = Path(__file__).parents[2] / "docs" / "simulator-vixdisklib.md"
    assert markdown() in page.read_text()


def test_every_line_of_the_c_table_is_understood() -> None:
    source = (Path(__file__).parents[2] / "simulator/vixdisklib/switches.h").read_text()
    assert len(switches()) == source.count("\nTEXT(") + source.count("\nNUMBER(")


@pytest.mark.parametrize(
    "wrong", [{"latency": 3}, {"read_us": "soon"}, {"read_us": -1}, {"faults": "a\nb=1"}, {"version": "new"}]
)
def test_install_refuses_what_the_library_would(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="switch"):
        install(tmp_path / "install", tmp_path, **wrong)


@pytest.mark.parametrize("wrong", ["faults=explode", "faults=error at=x", "completion=never", "read_us=-1"])
def test_init_refuses_a_switch_that_makes_no_sense(start: Start, wrong: str) -> None:
    key, _, value = wrong.partition("=")
    client = start(environment={f"VIXSIM_{key.upper()}": value})
    assert client.init() == "3"
    assert "switch" in client.log()


def test_the_environment_wins_and_a_misspelt_variable_is_named(start: Start) -> None:
    client = start(query="full", environment={"VIXSIM_QUERY": "unsupported", "VIXSIM_REED_US": "1"}).opened()
    assert client.do("query", 0, 0, 128, 128) == "6"
    assert "no such switch: VIXSIM_reed_us" in client.log()


@pytest.mark.parametrize("rule", ["error at=2", "error at=2 code=14011 path=web.vmdk"])
def test_the_second_read_fails_once(start: Start, rule: str) -> None:
    client = start(faults=rule).opened()
    assert [client.do("read", 0, 0, 1, "-") for _ in range(3)] == ["0", "14011", "0"]


@pytest.mark.parametrize(
    ("rule", "codes"),
    [
        ("error at=2 times=0 code=7", ["0", "7", "7"]),
        ("error times=2 code=5", ["5", "5", "0"]),
        ("error path=other.vmdk", ["0", "0", "0"]),
        ('error path="[ds one] web"', ["14011", "0", "0"]),
        ("error at=1 code=5; error at=2 code=2", ["5", "0", "2"]),
    ],
)
def test_fault_rules(start: Start, rule: str, codes: list[str]) -> None:
    client = start(faults=rule).opened()
    assert [client.do("read", 0, 0, 1, "-") for _ in range(3)] == codes


def test_a_fault_reaches_the_callback_of_an_asynchronous_read(start: Start) -> None:
    client = start(faults="error at=2 code=14011", threads=1).opened()
    assert [client.do("aread", 0, 0, 1, "-") for _ in range(3)] == ["25000"] * 3
    client.do("wait", 0)
    assert [one.split(":")[1] for one in client.do("results").split()] == ["0", "14011", "0"]


@pytest.mark.parametrize(
    ("call", "command"),
    [
        ("info", ["info", 0]),
        ("query", ["query", 0, 0, 128, 128]),
        ("wait", ["wait", 0]),
        ("close", ["close", 0]),
        ("disconnect", ["disconnect", 0]),
        ("prepare", ["prepare", 0, "x"]),
        ("flush", ["flush", 0]),
    ],
)
def test_other_calls_fail_too(start: Start, call: str, command: list[object]) -> None:
    assert start(faults=f"error on={call} code=31").opened().do(*command) == "31"


def test_connect_and_open_fail_once(start: Start) -> None:
    client = start(faults="error on=connect code=18000; error on=open code=14015")
    client.init()
    assert [client.connect(), client.connect()] == ["18000", "0"]
    assert [client.open(), client.open()] == ["14015", "0"]


@pytest.mark.parametrize(
    ("rule", "status"),
    [
        ("abort at=2", -signal.SIGABRT),
        ("segv at=2", -signal.SIGSEGV),
        ("panic at=2", -signal.SIGABRT),
        ("exit at=2 code=9", 9),
    ],
)
@pytest.mark.parametrize("read", ["read", "aread"])
def test_crashes_at_the_second_read(start: Start, rule: str, status: int, read: str) -> None:
    client = start(faults=rule).opened()
    client.do(read, 0, 0, 1, "-")
    client.do("wait", 0)
    client.do(read, 0, 0, 1, "-")
    client.do("wait", 0)
    assert client.finish() == status
    assert ("panic log: " in client.log()) == rule.startswith("panic")


def test_a_latch_fires_once_over_all_processes(start: Start, tmp_path: Path) -> None:
    rule = f"abort latch={tmp_path / 'latch'}"
    first = start(faults=rule).opened()
    first.do("read", 0, 0, 1, "-")
    assert first.finish() == -signal.SIGABRT
    assert start(faults=rule).opened().do("read", 0, 0, 1, "-") == "0"


def test_a_hanging_read_never_completes(start: Start) -> None:
    client = start(faults="hang at=1").opened()
    client.do("aread", 0, 0, 1, "-")
    time.sleep(0.2)  # there is no event for "never"
    assert client.do("info", 0).startswith("0 ")
    client.do("close", 0)
    assert client.finish() == -signal.SIGABRT
    assert "Close: 1 requests in flight" in client.log()


@pytest.mark.parametrize(("rule", "wrong"), [("flip", 1), ("garbage", 1024), ("short", 512)])
def test_silent_corruption(start: Start, layers: list[Layer], tmp_path: Path, rule: str, wrong: int) -> None:
    client = start(faults=f"{rule} at=2").opened()
    for name in ("good", "bad"):
        assert client.do("read", 0, 0, 2, tmp_path / name) == "0"
    good, bad = (tmp_path / "good").read_bytes(), (tmp_path / "bad").read_bytes()
    assert good == reference(layers)[:1024]
    assert sum(a != b for a, b in zip(good, bad, strict=True)) == wrong


def test_errors_may_carry_high_bits(start: Start) -> None:
    client = start(high_bits=1, faults="error code=14011").opened()
    code = int(client.do("read", 0, 0, 1, "-"))
    assert code & 0xFFFF == 14011
    assert code >> 16
    assert client.do("text", code) == client.do("text", 14011) == "The TCP connection was lost"
    assert client.do("aread", 0, 321, 1, "-") != "16007"
    assert client.do("text", 54321) == "Unknown error 54321"


def test_nfc_memory_is_counted_over_what_is_in_flight(start: Start) -> None:
    client = start(nfc_memory=1024, read_us=20000).opened()
    assert client.do("read", 0, 0, 3, "-") == "2"
    line = "received NFC error 5 from server: Failed to allocate the requested 1536 bytes"
    assert line in client.log()
    client.open(1)
    for count in (1, 1, 1):
        client.do("aread", 1, 0, count, "-")
    client.do("wait", 1)
    assert sorted(one.split(":")[1] for one in client.do("results").split()) == ["0", "0", "2"]
    client.do("aread", 1, 0, 2, "-")
    client.do("wait", 1)
    assert client.do("results").startswith("1:0:")


def test_a_single_request_can_be_too_large(start: Start) -> None:
    client = start(nfc_request=512).opened()
    assert [client.do("read", 0, 0, count, "-") for count in (1, 2)] == ["0", "2"]


@pytest.mark.parametrize(
    ("size", "count", "code"),
    [("16", "4", "0"), ("64", "4", "0"), ('"64"', '"5"', "1"), ("257", "1", "1"), ("0", "4", "1")],
)
def test_aio_buffers_come_from_the_configuration_file(
    start: Start, tmp_path: Path, size: str, count: str, code: str
) -> None:
    config = tmp_path / "vddk.conf"
    key = "vixDiskLib.nfcAio.Session"
    config.write_text(
        f"# comment\ntmpDirectory = /tmp\n{key}.BufSizeIn64KB = {size}\n{key}.BufCount={count}\nother=1\n"
    )
    client = start()
    client.init(config)
    client.connect()
    assert client.open() == code
    assert "configuration key other is not known" in client.log()


@pytest.mark.parametrize(
    ("query", "answer"), [("unsupported", "6"), ("empty", "0"), ("full", "0 0+256"), ("normal", "0 0+128")]
)
def test_query_modes(start: Start, query: str, answer: str) -> None:
    assert start(query=query).opened().do("query", 0, 0, 256, 128) == answer


def test_a_machine_with_snapshots_may_insist_on_a_snapshot(
    start: Start, estate: Estate, layers: list[Layer]
) -> None:
    estate.view(layers, view="current")
    assert start().opened()
    strict = start(require_snapshot=1)
    strict.init()
    assert strict.connect(snapshot="-") == "13"
    assert strict.connect() == "0"


def test_the_live_disk_of_a_running_machine_needs_a_snapshot(
    start: Start, estate: Estate, layers: list[Layer]
) -> None:
    """Its host has the file locked. A machine that is off, and one that is suspended, has no such lock."""
    estate.view(layers, view="current")
    power = estate.root / "power" / "vm-16"
    power.parent.mkdir()
    for state, live in (("poweredOn", "13"), ("poweredOff", "0"), ("suspended", "0")):
        power.write_text(state + "\n")
        for snapshot, code in (("-", live), ("snapshot-7", "0")):
            client = start()
            client.init()
            assert client.connect(snapshot=snapshot) == "0"
            assert client.open() == code, (state, snapshot)
    power.write_text("poweredOn\n")
    lenient = start(lock_live=0)
    lenient.init()
    assert [lenient.connect(snapshot="-"), lenient.open()] == ["0", "0"]


def test_before_8_0_2_network_errors_are_access_errors(start: Start, estate: Estate) -> None:
    (estate.root / "hosts").write_text("vm-16\trefused\n")
    client = start(version="8.0.1")
    client.init()
    client.connect()
    assert client.open() == "13"


def test_6_7_has_a_shorter_info(start: Start) -> None:
    client = start(version="6.7.3").opened()
    assert client.do("info", 0).endswith("deadbeef deadbeef")
    assert "VixDiskLib (6.7.3)" in client.log()
    assert (client.install / "lib64" / "libvixDiskLib.so.6").exists()


def test_6_5_accepts_zeroed_params_and_lacks_newer_functions(start: Start) -> None:
    client = start(version="6.5.4")
    client.init()
    client.do("params", 0, "calloc", "vc", "moref=vm-16", "-", 1, "svc", "secret")
    assert client.do("connect", 0, 0, "snapshot-7", "-") == "0"
    client.do("query", 0, 0, 128, 128)
    assert client.finish() == 77


def test_a_wrong_libdir_loses_transports_silently(start: Start, tmp_path: Path) -> None:
    client = start()
    assert client.init(libdir=tmp_path) == "0"
    assert client.do("modes") == "file:nbdssl:nbd"
    assert "cannot open shared object file" in client.log()
    assert client.connect() == "0"


def test_log_noise_and_secrets(start: Start) -> None:
    noisy = start(log_secrets=1).opened()
    for command in (["close", 0], ["disconnect", 0], ["free-params", 0], ["exit"]):
        noisy.do(*command)
    assert "Get CEIP status failed" in noisy.log()
    assert "VDDK_PhoneHome: report 1 of 1" in noisy.log()
    assert "secret" in noisy.log()
    noisy.finish()
    quiet = start(noise=0).opened()
    assert "CEIP" not in quiet.log()


def test_an_exit_handler_may_replace_the_status(start: Start) -> None:
    client = start(exit_zero=1)
    client.init()
    assert client.finish() == 0


def test_prepare_may_be_refused(start: Start) -> None:
    client = start(prepare_code=6).opened()
    assert client.do("prepare", 0, "x") == "6"


@pytest.mark.parametrize(
    ("chosen", "commands", "least"),
    [
        ({"read_us": 50000}, [["read", 0, 0, 1, "-"]], 0.05),
        ({"bandwidth": 512 * 1000}, [["read", 0, 0, 100, "-"]], 0.1),
        ({"rtt_us": 50000}, [["read", 0, 0, 1, "-"]], 0.05),
        ({"init_ms": 60}, [], 0.06),
        ({"connect_ms": 60}, [], 0.06),
        ({"open_ms": 60}, [], 0.06),
        ({"faults": "delay ms=60"}, [["read", 0, 0, 1, "-"]], 0.06),
        ({"query_ms": 60}, [["query", 0, 0, 128, 128]], 0.06),
        ({"exit_ms": 60, "check_leaks": 0}, [["exit"]], 0.06),
        ({"read_us": 50000, "threads": 1}, [["aread", 0, 0, 1, "-"]] * 3 + [["wait", 0]], 0.15),
    ],
)
def test_delays_are_at_least_as_long_as_asked(
    start: Start, chosen: dict[str, object], commands: list[list[object]], least: float
) -> None:
    client = start(**chosen)
    began = time.monotonic()
    client.opened()
    for command in commands:
        client.do(*command)
    assert time.monotonic() - began >= least


def test_threads_overlap_their_delays(start: Start) -> None:
    client = start(read_us=1_500_000, threads=4).opened()
    began = time.monotonic()
    for _ in range(4):
        client.do("aread", 0, 0, 1, "-")
    client.do("wait", 0)
    assert 1.5 <= time.monotonic() - began < 5.5
