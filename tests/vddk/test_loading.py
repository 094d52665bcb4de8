"""Which library is taken, how it is probed, and the rules that hold once per process."""

import hashlib
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vddk.estate import Estate
from tests.vddk.oddity import Oddity
from tests.waiting import PATIENCE
from vddk.__main__ import main
from vddk.errors import BadSetting, LibraryNotFound, SymbolMissing
from vddk.loading import candidates, find, version_of
from vddk.logs import Redactor, level_of
from vddk.maker import maker_of
from vddk.spec import ConnectionSpec, DiskSpec, Installation, SessionCookie, UserPassword
from vddk.worker import WorkerDisk, probe

REPOSITORY = Path(__file__).parents[2]


def test_the_newest_is_taken_and_lib64_comes_first(tmp_path: Path) -> None:
    (tmp_path / "lib64").mkdir()
    with pytest.raises(LibraryNotFound) as caught:
        find(tmp_path)
    assert str(tmp_path) in str(caught.value)
    for path in reversed(candidates(tmp_path)):
        path.touch()
        assert find(tmp_path) == path
    assert [path.name[-1] for path in candidates(tmp_path)] == list("99887766")


def test_the_version_is_in_the_name_of_the_real_file(tmp_path: Path) -> None:
    real, link = tmp_path / "libvixDiskLib.so.7.0.3", tmp_path / "libvixDiskLib.so.7"
    real.touch()
    link.symlink_to(real)
    assert (version_of(link), version_of(real)) == ("7.0.3", "7.0.3")
    other = tmp_path / "elsewhere"
    other.touch()
    (tmp_path / "libvixDiskLib.so.8").symlink_to(other)
    assert version_of(tmp_path / "libvixDiskLib.so.8") == "8"


def test_dependencies_are_found_beside_the_library(tmp_path: Path, oddity: Oddity) -> None:
    """VMware's library carries no search path: only the environment of the process makes it load."""
    place = oddity.directory / "8.0.0-Lneeds" / "lib64"
    place.mkdir(parents=True)
    (tmp_path / "dep.c").write_text("int dependency(void) { return 1; }\n")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", place / "libdep.so", tmp_path / "dep.c"], check=True)
    source = Path(__file__).with_name("oddity.c")
    subprocess.run(
        ["cc", "-w", "-shared", "-fPIC", "-o", place / "libvixDiskLib.so.8", source,
         "-Wl,--no-as-needed", f"-L{place}", "-ldep"], check=True,
    )  # fmt: skip
    with WorkerDisk(Installation(place.parent), oddity.spec(), 2) as disk:
        assert disk.info.capacity
    run = python(f"from vddk.loading import *; Library(Installation(Path({str(place.parent)!r})))")
    assert "LibraryUnloadable" in run.stderr and "libdep.so" in run.stderr


def test_the_directory_may_be_lib64_itself(installation: Installation, estate: Estate) -> None:
    with WorkerDisk(Installation(installation.directory / "lib64"), estate.spec(), 2) as disk:
        assert disk.info.capacity


def test_the_directory_may_be_relative(
    installation: Installation, estate: Estate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(installation.directory.parent)
    relative = Installation(Path(installation.directory.name))
    with WorkerDisk(relative, estate.spec(), 2) as disk:
        assert disk.info.capacity
    assert probe(relative.directory).version == "8.0.3"


def test_a_library_before_the_oldest_is_refused(estate: Estate, tmp_path: Path) -> None:
    with pytest.raises(SymbolMissing) as caught:
        probe(estate.installation(tmp_path, version="6.5.2").directory)
    assert caught.value.since == caught.value.oldest == "6.7"


def test_the_program_prints_what_is_there(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(installation.directory)]) == 0
    said = capsys.readouterr().out
    assert "8.0.3" in said and "nbdssl" in said and "libvixDiskLib.so.8" in said
    assert "the file names neither VMware nor Broadcom" in said
    file = next(line.split()[1] for line in said.splitlines() if line.startswith("library"))
    assert f"SHA-256     {hashlib.sha256(Path(file).read_bytes()).hexdigest()}" in said


@pytest.mark.parametrize(
    ("content", "name", "notice"),
    [
        (b"", "", ""),
        (b"\x7fELF\0zlib Copyright 1995-2022 Mark Adler\0", "", "zlib Copyright 1995-2022 Mark Adler"),
        (
            b"\0Copyright 1995 Mark Adler\0" + bytes(9 << 20) + b"\0Copyright (c) 1998-2023 VMware, Inc.\0",
            "VMware, Inc.",
            "Copyright (c) 1998-2023 VMware, Inc.",
        ),
        (b"x" * ((4 << 20) - 5) + b"Broadcom\0", "Broadcom", ""),
    ],
    ids=["empty", "of another", "of VMware", "across two pieces"],
)
def test_whom_a_library_names_as_its_maker(content: bytes, name: str, notice: str, tmp_path: Path) -> None:
    file = tmp_path / "libvixDiskLib.so"
    file.write_bytes(content)
    assert maker_of(file) == (name, notice, hashlib.sha256(content).hexdigest())


def test_the_program_says_in_one_line_why_not(
    tmp_path: Path, oddity: Oddity, capsys: pytest.CaptureFixture[str]
) -> None:
    lacking = oddity.installation("8.0.0", "-DWITHOUT_WAIT").directory
    for directory, part in ((tmp_path, "libvixDiskLib"), (lacking, "VixDiskLib_Wait")):
        assert main([str(directory)]) == 1
        said = capsys.readouterr()
        assert part in said.err and said.err.count("\n") == 1 and not said.out
    assert main([]) == main(["-h"]) == 2
    run = subprocess.run(
        [sys.executable, "-m", "vddk", tmp_path], capture_output=True, cwd=REPOSITORY, check=False
    )
    assert run.returncode == 1


def python(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True, text=True, cwd=REPOSITORY, timeout=PATIENCE, check=False,
    )  # fmt: skip


OPEN = """
import sys, threading, logging, tempfile
from pathlib import Path
from tests.vddk.estate import Estate
from vddk.disk import open_in_process
from vddk.errors import *
from vddk.loading import library, stop_library
from vddk.spec import Installation
logging.basicConfig(level=logging.DEBUG, format="%(levelname)s %(message)s")
tempfile.tempdir = sys.argv[3]
used, spec = Installation(Path(sys.argv[1])), Estate(Path(sys.argv[2]), b"").spec()
def elsewhere(call):
    found = []
    def run():
        try: call()
        except VddkError as error: found.append(type(error).__name__)
    thread = threading.Thread(target=run); thread.start(); thread.join()
    return found
"""


def test_rules_of_the_process(installation: Installation, estate: Estate, tmp_path: Path) -> None:
    run = python(
        OPEN + """
assert elsewhere(lambda: library(used)) == ["WrongThread"]
with open_in_process(used, spec) as disk:
    assert elsewhere(lambda: disk.read_into(0, bytearray(512))) == ["WrongThread"]
    assert elsewhere(disk.close) == ["WrongThread"]
    try: library(Installation(Path("/elsewhere")))
    except AlreadyInitialised as error: assert sys.argv[1] in str(error)
    assert elsewhere(lambda: open_in_process(used, spec).close()) == []
left_open = open_in_process(used, spec)
left_open.submit(0, left_open.buffers(1, 1 << 20)[0], 1)
del left_open
stop_library()
try: library(used)
except AlreadyInitialised: print("fine")
""", installation.directory, estate.root, tmp_path,
    )  # fmt: skip
    assert run.stdout == "fine\n", run.stderr
    assert run.returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_a_failed_start_is_not_repeated(oddity: Oddity, tmp_path: Path) -> None:
    oddity.environment.setenv("ODDITY", "init")
    run = python(
        OPEN + """
for expected in (VixError, AlreadyInitialised):
    try: library(used)
    except expected as error: print(type(error).__name__)
""", oddity.installation().directory, "-", tmp_path,
    )  # fmt: skip
    assert run.stdout.split() == ["UnexplainedFailure", "AlreadyInitialised"], run.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_forgotten_disk_is_closed_at_the_end(
    installation: Installation, estate: Estate, tmp_path: Path
) -> None:
    run = python(
        OPEN + "disk = open_in_process(used, spec); disk.submit(0, bytearray(1 << 20), 1); print('end')",
        installation.directory, estate.root, tmp_path,
    )  # fmt: skip
    assert (run.returncode, run.stdout) == (0, "end\n"), run.stderr
    assert "Exit" in run.stderr and list(tmp_path.iterdir()) == []


def test_a_panic_reports_and_ends_only_this_process(estate: Estate, tmp_path: Path) -> None:
    panicking = estate.installation(tmp_path / "vddk", faults="panic on=open", log_secrets=1)
    run = python(OPEN + "open_in_process(used, spec)", panicking.directory, estate.root, tmp_path / "none")
    assert run.returncode != 0
    (tmp_path / "tmp").mkdir()
    run = python(OPEN + "open_in_process(used, spec)", panicking.directory, estate.root, tmp_path / "tmp")
    assert run.returncode == 86
    assert "CRITICAL panic:" in run.stderr


def test_the_configuration_reaches_the_library(estate: Estate, tmp_path: Path) -> None:
    plain = estate.installation(tmp_path / "vddk")
    chosen = Installation(plain.directory, aio_buffer_64k=32, aio_buffers=8, extra={"vixDiskLib.x": "1"})
    text = chosen.configuration(tmp_path)
    assert "vixDiskLib.nfcAio.Session.BufSizeIn64KB=32\n" in text and "vixDiskLib.x=1\n" in text
    assert f"tmpDirectory={tmp_path}\n" in text
    with WorkerDisk(chosen, estate.spec(), 2) as disk:
        disk.cancel()
        with pytest.raises(Exception, match="8 buffers of 2097152 bytes"):
            disk.metadata()


def test_settings_that_cannot_work_are_refused(tmp_path: Path) -> None:
    connection = ConnectionSpec("vc", "", UserPassword("u", "p"), "vm-1")
    for wrong in (
        lambda: Installation(tmp_path, aio_buffer_64k=64, aio_buffers=5),
        lambda: Installation(tmp_path, aio_buffers=0),
        lambda: Installation(tmp_path, extra={"a": "b\nc=d"}),
        lambda: ConnectionSpec("vc", "", UserPassword("u", "p"), "vm-1", transports="nbdssl:warp"),
        lambda: DiskSpec(connection, "p", compression="brotli"),  # type: ignore[arg-type]
        lambda: DiskSpec(connection, "p", chunk=4096),
    ):
        with pytest.raises(BadSetting):
            wrong()


@given(st.text(min_size=3), st.text(), st.text())
def test_known_secrets_never_pass(secret: str, before: str, after: str) -> None:
    redact = Redactor()
    redact.add(secret)
    assert secret not in redact(before + secret + after) or secret in "***"


@pytest.mark.parametrize(
    "line",
    [
        'cookie: vmware_soap_session="52-topsecret"', "password=topsecret", "Password: 'topsecret' given",
        '{"password": "topsecret"}', "PASSWD=topsecret;", "session key = topsecret",
        "passphrase is topsecret",
    ],
)  # fmt: skip
def test_unknown_secrets_are_known_by_the_word_before_them(line: str) -> None:
    assert "topsecret" not in Redactor()(line) and "***" in Redactor()(line)


def test_specs_hide_their_secrets() -> None:
    for credentials in (UserPassword("u", "topsecret"), SessionCookie("topsecret", "u", "topsecret")):
        spec = DiskSpec(ConnectionSpec("vc", "", credentials, "vm-1"), "p")
        assert "topsecret" not in repr(spec) + str(spec)


def test_levels() -> None:
    assert level_of("x Get CEIP status failed", logging.WARNING) == logging.DEBUG
    assert level_of("libx.so: cannot open shared object file: none", logging.INFO) == logging.WARNING
    assert level_of("plain", logging.INFO) == logging.INFO
