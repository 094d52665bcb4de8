"""A client that knows only the documented ABI reads a disk and learns about it."""

from pathlib import Path

import pytest

from tests.vixdisklib.conftest import Start
from tests.vixdisklib.estate import PATH, THUMBPRINT, Estate, Layer, reference


def test_a_full_conversation_leaves_nothing_behind(start: Start, layers: list[Layer], tmp_path: Path) -> None:
    client = start()
    assert client.init() == "0"
    assert client.do("modes") == "file:san:hotadd:nbdssl:nbd"
    assert client.connect(modes="san:hotadd:nbd:nbdssl") == "0"
    assert client.do("prepare", 0, "migration") == "0"
    assert client.open() == "0"
    assert client.do("mode", 0) == "nbd"
    assert client.do("info", 0) == "0 321 3 3 60 00 C2 9e parent 200 200"
    assert client.do("read", 0, 0, 321, tmp_path / "out") == "0"
    assert (tmp_path / "out").read_bytes() == reference(layers)
    assert client.do("flush", 0) == "0"
    for command in (["close", 0], ["disconnect", 0], ["end", 0, "migration"], ["free-params", 0], ["exit"]):
        assert client.do(*command) == "0"
    assert client.finish() == 3
    assert "VMware VixDiskLib (8.0.3) Release build-23950268" in client.log()
    assert "secret" not in client.log()


@pytest.mark.parametrize(
    ("completion", "expected"),
    [("threaded", ("late:foreign", "late:foreign")), ("sync", ("early:same", "early:same"))],
)
def test_asynchronous_reads(
    start: Start, layers: list[Layer], tmp_path: Path, completion: str, expected: tuple[str, str]
) -> None:
    client = start(completion=completion, read_us=20000).opened()
    halves = [(0, 200), (200, 121)]
    assert [client.do("aread", 0, *half, tmp_path / str(half[0])) for half in halves] == ["25000"] * 2
    assert client.do("wait", 0) == "0"
    assert client.do("results") == " ".join(f"1:0:{how}" for how in expected)
    assert (tmp_path / "0").read_bytes() + (tmp_path / "200").read_bytes() == reference(layers)
    assert client.do("close", 0) == "0"


@pytest.mark.usefixtures("layers")
def test_mixed_completion_alternates(start: Start) -> None:
    client = start(completion="mixed", read_us=20000).opened()
    for _ in range(4):
        client.do("aread", 0, 0, 1, "-")
    client.do("wait", 0)
    assert client.do("results").split() == ["1:0:late:foreign", "1:0:early:same"] * 2


@pytest.mark.usefixtures("layers")
def test_synchronous_and_asynchronous_reads_do_not_mix(start: Start) -> None:
    client = start().opened()
    client.open(1)
    assert client.do("read", 0, 0, 1, "-") == "0"
    assert client.do("aread", 0, 0, 1, "-") == "26000"
    assert client.do("aread", 1, 0, 1, "-") == "25000"
    assert client.do("wait", 1) == "0"
    assert client.do("read", 1, 0, 1, "-") == "26000"


@pytest.mark.usefixtures("layers")
def test_ranges_past_the_end_and_empty_ones(start: Start) -> None:
    client = start().opened()
    assert client.do("read", 0, 320, 1, "-") == "0"
    assert client.do("read", 0, 320, 2, "-") == "16007"
    assert client.do("read", 0, 321, 1, "-") == "16007"
    assert client.do("read", 0, 2**64 - 1, 2, "-") == "16007"
    assert client.do("read", 0, 0, 0, "-") == "3"
    assert client.do("aread", 0, 321, 1, "-") == "16007"


@pytest.mark.usefixtures("layers")
def test_metadata_tells_the_size_it_needs(start: Start) -> None:
    client = start().opened()
    assert client.do("metadata", 0, "adapterType") == "24 0 9 lsilogic"
    assert client.do("metadata", 0).startswith("24 0 ")
    assert client.do("metadata", 0, "nothing").startswith("16052 16052")


@pytest.mark.usefixtures("layers")
def test_what_a_reader_must_not_do_is_refused(start: Start) -> None:
    client = start().opened()
    assert client.do("write", 0) == "11"
    assert client.do("create", 0) == "20"


def test_local_raw_files_need_no_estate(start: Start, tmp_path: Path) -> None:
    (tmp_path / "local.vmdk").write_bytes(b"local" + bytes(512 * 9 - 5))
    client = start(environment={"VIXSIM_ROOT": ""})
    client.init()
    client.do("params", 0, "allocate", "-", "-", "-")
    assert client.do("connect", 0, 0, "-", "-") == "0"
    assert client.open(path=str(tmp_path / "local.vmdk")) == "0"
    assert client.do("mode", 0) == "file"
    assert client.do("read", 0, 0, 9, tmp_path / "out") == "0"
    assert (tmp_path / "out").read_bytes() == (tmp_path / "local.vmdk").read_bytes()
    assert client.do("write", 0) == "11"


@pytest.mark.usefixtures("layers")
def test_connect_params_can_be_read_back_without_the_secret(start: Start) -> None:
    client = start().opened()
    assert client.do("get-params", 0, 1) == "0"
    assert client.do("show-params", 1) == "moref=vm-16 vc svc"
    assert client.do("free-params", 1) == "0"


@pytest.mark.parametrize(
    ("spec", "credential", "snapshot", "code"),
    [
        ("moref=vm-16", (1, "svc", "secret"), "snapshot-7", "0"),
        ("moid=vm-16", (1, "other", "word"), "snapshot-7", "0"),
        ("moref=vm-16", (2, "52aa-live", "svc"), "snapshot-7", "0"),
        ("moref=vm-16", (1, "svc", "word"), "snapshot-7", "35"),
        ("moref=vm-16", (1, "nobody", "secret"), "snapshot-7", "35"),
        ("moref=vm-16", (1, "-", "-"), "snapshot-7", "35"),
        ("moref=vm-16", (2, "52aa-gone", "svc"), "snapshot-7", "3047"),
        ("moref=vm-16", (2, "../access", "svc"), "snapshot-7", "3047"),
        ("moref=vm-16", (2, "-", "svc"), "snapshot-7", "3047"),
        ("moref=vm-17", (1, "svc", "secret"), "snapshot-7", "25"),
        ("moref=vm-16", (1, "svc", "secret"), "snapshot-8", "25"),
        ("moref=vm-16", (1, "svc", "secret"), "../vm-16/snapshot-7", "25"),
        ("moref=../estate", (1, "svc", "secret"), "-", "3"),
        ("vm-16", (1, "svc", "secret"), "-", "3"),
        ("moref=vm-16", (3, "x", "y"), "-", "3"),
    ],
)
@pytest.mark.usefixtures("layers")
def test_login_and_addressing(
    start: Start, spec: str, credential: tuple[object, ...], snapshot: str, code: str
) -> None:
    client = start()
    client.init()
    client.do("params", 0, "allocate", "vc", spec, THUMBPRINT, *credential)
    assert client.do("connect", 0, 0, snapshot, "-") == code


@pytest.mark.usefixtures("layers")
def test_a_session_that_expires_after_the_connection_fails_the_open(start: Start, estate: Estate) -> None:
    client = start()
    client.init()
    client.do("params", 0, "allocate", "vc", "moref=vm-16", THUMBPRINT, 2, '"52aa-live"', "svc")
    assert client.do("connect", 0, 0, "snapshot-7", "-") == "0"
    (estate.root / "sessions" / "52aa-live").unlink()
    assert client.open() == "3047"


@pytest.mark.usefixtures("layers")
def test_opening_says_why_not(start: Start, estate: Estate) -> None:
    client = start()
    client.init()
    client.connect()
    assert client.open(path="[ds one] web/other.vmdk") == "4"
    assert client.open(path="[ds one] web/web_1.vmdk") == "4"
    assert client.open(flags=4 | 16 | 32) == "3"
    assert client.open(flags=4 | 64) == "0"
    for state, code in [("maintenance", "14014"), ("refused", "14009"), ("unresolved", "14008"), ("ok", "0")]:
        (estate.root / "hosts").write_text(f"vm-1\trefused\nvm-16\t{state}\n")
        assert client.open(1) == code
    assert client.connect(modes="san:hotadd") == "0"
    assert client.open() == "13"


@pytest.mark.usefixtures("layers")
def test_a_wrong_thumbprint_is_an_unknown_error_with_a_log_line(start: Start) -> None:
    client = start()
    client.init()
    assert client.connect(thumb="00:11") == "0"
    assert client.open() == "1"
    assert f"Failed to verify SSL certificate: actual thumbprint={THUMBPRINT} expected=00:11" in client.log()
    assert client.connect(thumb="-") == "0"
    assert client.open() == "1"


def test_an_independent_disk_does_not_open(start: Start, estate: Estate) -> None:
    estate.view([estate.layer("base", 4096, mapped=False)], mode="independent_persistent")
    client = start()
    client.init()
    client.connect()
    assert client.open(path=PATH) == "1"


@pytest.mark.usefixtures("layers")
def test_a_new_view_is_seen_at_the_next_open_only(start: Start, estate: Estate, tmp_path: Path) -> None:
    client = start().opened()
    estate.view([estate.layer("other", 8192, mapped=False, g0=b"z" * 4096)])
    client.open(1)
    assert client.do("info", 0).startswith("0 321 3 3 ")
    assert client.do("info", 1).startswith("0 16 3 1 ")
    client.do("read", 1, 0, 1, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"z" * 512


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("", "4"),
        (PATH, "1"),
        (f"{PATH}\t512\tide\tu\tpersistent", "1"),
        (f"{PATH}\t512\tide\tu\tpersistent\t/nowhere", "4"),
        (f"{PATH}\t512\tide\tu\tpersistent" + "\t/dev/null" * 64, "0"),
        (f"{PATH}\t512\tide\tu\tpersistent" + "\t/dev/null" * 65, "1"),
        (f"{PATH}\t12x\tnvme\t\tpersistent\t/dev/null", "0"),
        ("\t\t\t" + "x" * 100000, "4"),
    ],
)
def test_an_index_that_is_not_as_agreed(start: Start, estate: Estate, line: str, code: str) -> None:
    estate.view([estate.layer("base", 4096, mapped=False)])
    (estate.root / "vm-16" / "snapshot-7" / "disks").write_text(line)
    client = start()
    client.init()
    client.connect()
    assert client.open() == code
