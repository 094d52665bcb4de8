"""A library that breaks its promises: every oddity is a typed error or a safe answer."""

import logging
from pathlib import Path

import pytest

from tests.vddk.oddity import PASSWORD, Oddity
from vddk.codes import CODES
from vddk.errors import (
    CLASSES,
    LibraryMisbehaved,
    LibraryUnloadable,
    NetworkFailure,
    StorageFailure,
    SymbolMissing,
    UntrustedServer,
    VddkError,
    VixError,
    WorkerDied,
)
from vddk.spec import Compression, Extent
from vddk.worker import open_in_worker, probe, release_in_worker

CHUNK = 65536
MIB = 1 << 20


def test_an_old_library_has_a_shorter_information_block(oddity: Oddity) -> None:
    """It ends at an unreadable page, so that one byte too far would be a crash."""
    with oddity.open("old", version="6.7.3") as disk:
        assert disk.info.capacity == 512 << 20
        assert (disk.info.logical_sector_size, disk.info.physical_sector_size) == (512, 512)
        assert (disk.info.adapter, disk.info.uuid, disk.info.parent_hint) == ("unknown", None, None)
        assert disk.transport == "" and disk.metadata() == {}
    with oddity.open("", version="7.0.3") as disk:
        assert (disk.info.logical_sector_size, disk.info.physical_sector_size) == (4096, 8192)


def test_a_missing_function_is_named_with_the_oldest_version(oddity: Oddity) -> None:
    with pytest.raises(SymbolMissing) as caught:
        probe(oddity.installation("8.0.0", "-DWITHOUT_WAIT").directory)
    assert caught.value.symbol == "VixDiskLib_Wait"
    assert "VixDiskLib_Wait" in str(caught.value) and "6.7" in str(caught.value)


@pytest.mark.parametrize(
    "flags", [("-DWITHOUT_PREPARE",), ("-DWITHOUT_END",), ("-DWITHOUT_PREPARE", "-DWITHOUT_END")]
)
def test_a_library_that_cannot_keep_a_machine_from_moving_reads_and_says_so(
    flags: tuple[str, ...], oddity: Oddity, caplog: pytest.LogCaptureFixture
) -> None:
    """Of two calls that belong together one alone is not made."""
    with oddity.open("", flags=flags) as disk:
        memory = bytearray(MIB)
        disk.read_into(0, memory)
    assert memory == b"x" * MIB
    said = [record.getMessage() for record in caplog.records]
    assert [line for line in said if "lacks PrepareForAccess or EndAccess" in line]
    assert not [line for line in said if "VixDiskLib_PrepareForAccess" in line]
    release_in_worker(oddity.installation("8.0.0", *flags), oddity.spec())


def test_a_file_that_is_no_library(tmp_path: Path) -> None:
    (tmp_path / "libvixDiskLib.so.9").write_text("not ELF")
    with pytest.raises(LibraryUnloadable) as caught:
        probe(tmp_path)
    assert "LD_LIBRARY_PATH" in str(caught.value) and str(tmp_path) in str(caught.value)


def test_a_probe_tells_version_functions_and_trouble(oddity: Oddity) -> None:
    found = probe(oddity.installation("7.0.2").directory)
    assert (found.version, found.transports) == ("7.0.2", ("file", "nbdssl"))
    assert "VixDiskLib_Cleanup" in found.missing and "VixDiskLib_ReadAsync" in found.found
    assert [line for line in found.warnings if "cannot open shared object file" in line]
    assert not [line for line in found.warnings if "CEIP" in line]


def test_a_start_that_fails(oddity: Oddity) -> None:
    with pytest.raises(VixError) as caught:
        oddity.open("init")
    assert caught.value.code == 16053 and caught.value.call == "InitEx"


def test_no_memory_and_no_information(oddity: Oddity) -> None:
    for name, call in (("memory", "AllocateConnectParams"), ("no info", "GetInfo")):
        with pytest.raises(LibraryMisbehaved) as caught:
            oddity.open(name)
        assert caught.value.call == call


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("plain", LibraryMisbehaved),
        ("refuse", NetworkFailure),
        ("late error", StorageFailure),
        ("plain but done", None),
        ("twice", None),
    ],
)
def test_reads_that_end_in_odd_ways(name: str, kind: type[VddkError] | None, oddity: Oddity) -> None:
    with oddity.open(name, depth=2) as disk:
        memory = bytearray(4 * MIB)
        if kind is None:
            disk.read_into(0, memory)
            assert memory == b"x" * (4 * MIB)
            return
        with pytest.raises(kind):
            disk.read_into(0, memory)
        disk.submit(0, bytearray(512), token=1 << 40)
        [(token, error)] = disk.completions()
        assert token == 1 << 40 and isinstance(error, kind)


@pytest.mark.parametrize("name", ["none", "huge", "backwards", "beyond"])
def test_nonsense_about_allocation_means_everything(name: str, oddity: Oddity) -> None:
    with oddity.open(name) as disk:
        assert list(disk.allocated(0, disk.info.capacity)) == [Extent(0, disk.info.capacity)]


def test_sensible_answers_about_allocation(oddity: Oddity) -> None:
    with oddity.open("") as disk:
        assert list(disk.allocated(0, MIB)) == [Extent(0, CHUNK), Extent(2 * CHUNK, CHUNK)]
    with oddity.open("empty") as disk:
        assert list(disk.allocated(0, disk.info.capacity)) == []


@pytest.mark.parametrize("code", [1, 3, 6, 20, 16007])
def test_codes_that_mean_reading_everything(code: int, oddity: Oddity) -> None:
    oddity.environment.setenv("CODE", str(code))
    with oddity.open("query fails") as disk:
        assert list(disk.allocated(MIB, MIB)) == [Extent(MIB, MIB)]


def test_every_known_code_crosses_the_process_border(oddity: Oddity) -> None:
    """A query that cannot be answered means reading everything; all other errors are raised as they are."""
    with oddity.open("query fails") as disk:
        assert list(disk.allocated(0, MIB)) == []
    for code in (2, 14011, 35, 16002, 4711):
        oddity.environment.setenv("CODE", str(code))
        with oddity.open("query fails") as disk, pytest.raises(VixError) as caught:
            list(disk.allocated(0, MIB))
        family = CODES[code].family if code in CODES else "UnknownVixError"
        assert type(caught.value) is CLASSES[family] and caught.value.code == code


@pytest.mark.parametrize(("name", "flag"), [("none", 4), ("zlib", 20), ("fastlz", 36), ("skipz", 68)])
def test_compression_is_a_flag_of_open(name: Compression, flag: int, oddity: Oddity) -> None:
    oddity.environment.setenv("ODDITY", "flags")
    with pytest.raises(VixError) as caught:
        open_in_worker(oddity.installation(), oddity.spec(name))
    assert caught.value.code == 20000 + flag


def test_a_shrug_is_explained_by_the_log(oddity: Oddity) -> None:
    with pytest.raises(UntrustedServer) as caught:
        oddity.open("thumbprint")
    assert "actual thumbprint=AA expected=BB" in str(caught.value) and not caught.value.retryable
    assert "\n" not in str(caught.value)


def test_failing_farewells_only_warn(oddity: Oddity, caplog: pytest.LogCaptureFixture) -> None:
    oddity.open("").close()
    warned = " ".join(record.getMessage() for record in caplog.records)
    assert "VixDiskLib_PrepareForAccess" in warned
    assert "VixDiskLib_Close" in warned and "VixDiskLib_Disconnect" in warned


def test_log_lines_are_formatted_levelled_and_redacted(
    oddity: Oddity, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="vddk")
    oddity.open("").close()
    lines = {record.getMessage(): record.levelno for record in caplog.records}
    assert any("number -7 wide 1099511627776" in line for line in lines)
    assert lines["Get CEIP status failed"] == lines["VDDK_PhoneHome: no answer"] == logging.DEBUG
    assert lines["libgvmomi.so: cannot open shared object file: No such file or directory"] == logging.WARNING
    assert lines["NBD: password=*** for vc, again ***"] == logging.WARNING
    assert PASSWORD not in caplog.text


def test_a_flood_of_log_lines_blocks_nobody(oddity: Oddity, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="vddk")
    with oddity.open("chatter"):
        pass
    flood = [record for record in caplog.records if record.getMessage().startswith("line ")]
    assert len(flood) == 6000


def test_rubbish_on_its_output_harms_nobody(oddity: Oddity, caplog: pytest.LogCaptureFixture) -> None:
    class Failing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError("a handler that fails")

    failing = Failing()
    logging.getLogger("vddk.worker").addHandler(failing)
    try:
        with oddity.open("rubbish") as disk:
            memory = bytearray(MIB)
            disk.read_into(0, memory)
        assert memory == b"x" * MIB
    finally:
        logging.getLogger("vddk.worker").removeHandler(failing)


def test_last_words_of_a_crash_are_in_the_error(oddity: Oddity) -> None:
    with pytest.raises(WorkerDied) as caught:
        oddity.open("print")
    assert "munmap_chunk(): invalid pointer" in str(caught.value) and caught.value.signal == 6
