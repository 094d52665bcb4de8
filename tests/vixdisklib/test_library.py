"""The compiled file itself: what it exports, how it is cached and laid out, how fast and clean it runs."""

import multiprocessing
import os
import re
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from simulator.vixdisklib import CompilerError, Sanitizer, build, install
from simulator.vixdisklib.compiler import _FLAGS
from tests.vixdisklib.client import Client
from tests.vixdisklib.conftest import Start, compile_driver
from tests.vixdisklib.estate import PATH, Estate, Layer, reference

NBDKIT_REQUIRED = [
    *(
        "InitEx",
        "Exit",
        "GetErrorText",
        "FreeErrorText",
        "FreeConnectParams",
        "ConnectEx",
        "Disconnect",
        "Open",
    ),
    *("Close", "GetTransportMode", "GetInfo", "FreeInfo", "Read", "Write", "ReadAsync", "WriteAsync", "Wait"),
    *("Create", "Flush"),
]
NBDKIT_OPTIONAL = ["QueryAllocatedBlocks", "FreeBlockList", "AllocateConnectParams"]
READER = ["ListTransportModes", "PrepareForAccess", "EndAccess", "Cleanup", "ReadMetadata", "GetMetadataKeys"]


def exported(library: Path) -> set[str]:
    if shutil.which("nm") is None:
        pytest.skip("binutils")
    lines = subprocess.run(
        ["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True
    )
    return {line.split()[-1] for line in lines.stdout.splitlines()}


def test_exactly_the_abi_is_exported() -> None:
    names = exported(build())
    header = (Path(__file__).parents[2] / "simulator/vixdisklib/abi.h").read_text()
    assert names == set(re.findall(r"\b(VixDiskLib_\w+)\(", header))
    assert {f"VixDiskLib_{name}" for name in [*NBDKIT_REQUIRED, *NBDKIT_OPTIONAL, *READER]} <= names


def test_the_6_5_library_has_what_6_5_had() -> None:
    names = exported(build(abi=65))
    assert not names & {f"VixDiskLib_{name}" for name in NBDKIT_OPTIONAL}
    assert {f"VixDiskLib_{name}" for name in NBDKIT_REQUIRED} <= names


def test_an_installation_has_all_names(tmp_path: Path) -> None:
    folder = install(tmp_path / "vddk", tmp_path) / "lib64"
    names = {path.name: path.is_symlink() for path in folder.iterdir()}
    assert names == {"libvixDiskLib.so": True, "libvixDiskLib.so.8": True, "libvixDiskLib.so.8.0.3": False}
    assert (folder / "libvixDiskLib.so").resolve().name == "libvixDiskLib.so.8.0.3"
    assert (tmp_path / "vddk" / "vixdisklib.conf").read_text() == f"root={tmp_path}\n"
    install(tmp_path / "vddk", tmp_path, version="9.0.1")
    assert (folder / "libvixDiskLib.so").resolve().name == "libvixDiskLib.so.9.0.1"
    assert not (folder / "libvixDiskLib.so.8").is_symlink()


def _build_into(cache: str) -> str:
    os.environ["XDG_CACHE_HOME"] = cache
    return str(build())


def test_several_processes_may_build_at_once(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        paths = set(pool.map(_build_into, [str(tmp_path)] * 2))
    assert len(paths) == 1
    library = Path(paths.pop())
    assert [path.name for path in library.parent.iterdir()] == ["libvixDiskLib.so"]


def test_compiling_costs_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    first = build()
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 4
    stamp = first.stat().st_mtime_ns
    assert build().stat().st_mtime_ns == stamp


def test_a_missing_compiler_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CC", "no-such-cc")
    with pytest.raises(
        CompilerError, match=r"no C compiler \(no-such-cc\) on PATH; install gcc or clang"
    ) as raised:
        build()
    assert "\n" not in str(raised.value)


def test_a_failing_compiler_leaves_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CC", "false")
    with pytest.raises(CompilerError, match="failed: no message"):
        build()
    assert not list(tmp_path.rglob("*.so"))


def test_it_is_compiled_strictly() -> None:
    assert {"-O2", "-Wall", "-Wextra", "-Werror", "-fvisibility=hidden"} <= set(_FLAGS)


@pytest.fixture
def memory() -> Iterator[Path]:
    with TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        yield Path(folder)


@pytest.mark.parametrize("sanitize", [None, "thread", "address"])
def test_many_handles_and_threads(
    driver: Path, estate: Estate, layers: list[Layer], tmp_path: Path, sanitize: Sanitizer | None
) -> None:
    if sanitize:
        try:
            driver = compile_driver(tmp_path / "checked", f"-fsanitize={sanitize}")
        except subprocess.CalledProcessError:
            pytest.skip(f"lib{sanitize[0]}san")
    expected = tmp_path / "expected"
    expected.write_bytes(reference(layers))
    switches = {"completion": "mixed", "threads": 3, "jitter_us": 200, "bandwidth": 10**10}
    folder = install(tmp_path / "install", estate.root, sanitize=sanitize, **switches)
    with Client(driver, folder, tmp_path, ASAN_OPTIONS="detect_leaks=0") as client:
        assert [client.init(), client.connect()] == ["0", "0"], client.log()
        assert client.do("stress", 0, 8, PATH, expected, expected.stat().st_size // 512) == "0"
        for command in (["disconnect", 0], ["free-params", 0], ["exit"]):
            assert client.do(*command) == "0"
        assert client.finish() == 3, client.log()
        assert "Sanitizer" not in client.log()


def _plain(path: Path, capacity: int, step: int) -> float:
    """Bytes per second of reading the same file with nothing in between."""
    buffer = bytearray(step)
    began = time.monotonic()
    with path.open("rb", buffering=0) as file:
        for _ in range(capacity // step):
            file.readinto(buffer)
    return capacity / (time.monotonic() - began)


def test_reads_cost_little_more_than_the_file_itself(start: Start, estate: Estate, memory: Path) -> None:
    """Taken in turn and compared with each other, so that a busy machine slows both."""
    capacity = 256 * 2**20
    base = Layer(memory / "base", capacity, mapped=False)
    estate.view([base])
    with base.path.open("r+b") as file:
        file.writelines(os.urandom(2**20) * 8 for _ in range(32))
    client = start().opened()
    ratios: list[float] = []
    while len(ratios) < 8 and max(ratios, default=0.0) < 0.7:
        rate = float(client.do("speed", 0, capacity // 512, 2048))
        ratios.append(rate / _plain(base.path, capacity, 2**20))
    assert max(ratios) >= 0.7, ratios


def test_opening_needs_no_more_files_than_layers(start: Start, layers: list[Layer]) -> None:
    """A thousand opens and closes leave no descriptor behind."""
    client = start(noise=0).opened()
    with ExitStack() as stack:
        stack.callback(client.kill)
        for _ in range(1000):
            assert client.open(1) == "0"
            assert client.do("close", 1) == "0"
        descriptors = list(Path(f"/proc/{client.pid}/fd").iterdir())
    assert len(descriptors) < 3 + 2 * len(layers) + 3
