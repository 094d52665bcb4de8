"""Which descriptors name one flat file, and why the others are refused."""

from __future__ import annotations

import pytest

from connector.errors import ConnectorError, Ineligible, ReaderFailed
from connector.sources.descriptor import LONGEST, FlatFile, flat_file
from connector.sources.https import beside

FLAT = """# Disk DescriptorFile
version=1
encoding="UTF-8"
CID=fffffffe
parentCID=ffffffff
isNativeSnapshot="no"
createType="vmfs"

# Extent description
RW 16384 VMFS "web-flat.vmdk"

# Change Tracking File
changeTrackPath="web-ctk.vmdk"

# The Disk Data Base
#DDB

ddb.adapterType = "lsilogic"
ddb.thinProvisioned = "1"
ddb.uuid = "60 00 C2 9a 11 22 33 44-55 66 77 88 99 aa bb cc"
"""
EXTENT = 'RW 16384 VMFS "web-flat.vmdk"'


def test_a_flat_disk() -> None:
    assert flat_file(FLAT.encode(), "d") == FlatFile("web-flat.vmdk", 8 << 20)
    assert flat_file(FLAT.replace("\n", "\r\n").encode(), "d").name == "web-flat.vmdk"
    assert flat_file(FLAT.replace("web-flat", "wéb 1-flat").encode(), "d").name == "wéb 1-flat.vmdk"


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ('createType="vmfs"', 'createType="seSparse"', "SEsparse"),
        ('createType="vmfs"', 'createType="vmfsSparse"', "delta"),
        ('createType="vmfs"', 'createType="vmfsRawDeviceMap"', "raw device"),
        ('createType="vmfs"', 'createType="vmfsPassthroughRawDeviceMap"', "raw device"),
        ('createType="vmfs"', 'createType="vsanSparse"', "vSAN"),
        ('createType="vmfs"', 'createType="tomorrow"', "tomorrow"),
        ('createType="vmfs"\n', "", "none"),
        ("parentCID=ffffffff", "parentCID=12345678", "parent"),
        ("CID=fffffffe", 'CID=fffffffe\nparentFileNameHint="x.vmdk"', "parent"),
        (EXTENT, f"{EXTENT}\n{EXTENT}", "2 files"),
        (EXTENT, "", "0 files"),
        (EXTENT, 'RW 16384 SESPARSE "web-flat.vmdk"', "SESPARSE"),
        (EXTENT, 'RW 16384 VMFS "web-flat.vmdk" 128', "first byte"),
        (EXTENT, 'RDONLY 16384 VMFS "web-flat.vmdk"', "open to all"),
        (EXTENT, 'RW 16384 VMFS "vsan://5f0a-11"', "object"),
        (EXTENT, 'RW 16384 VMFS "/vmfs/volumes/x/web-flat.vmdk"', "beside"),
        (EXTENT, 'RW 16384 VMFS ".."', "beside"),
        (EXTENT, "RW 16384 VMFS", "object"),
        ("#DDB", '#DDB\nencryption.keySafe = "vmware:key/list/x"', "encrypted"),
    ],
)
def test_what_is_refused(before: str, after: str, words: str) -> None:
    assert before in FLAT
    with pytest.raises(Ineligible, match=f"cannot be read as a file: .*{words}"):
        flat_file(FLAT.replace(before, after).encode(), "d")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>log in</html>",
        bytes(1000),
        b"KDMV" + bytes(508),
        FLAT.encode() + b"#" * LONGEST,
        FLAT.replace(EXTENT, 'RW 0 VMFS "web-flat.vmdk"').encode(),
        FLAT.replace(EXTENT, f'RW {"9" * 40} VMFS "web-flat.vmdk"').encode(),
        FLAT.replace(EXTENT, "garbage that nobody knows").encode(),
    ],
    ids=range(8),
)
def test_what_is_no_descriptor(content: bytes) -> None:
    with pytest.raises(ConnectorError) as failed:
        flat_file(content, "[ds] web/web.vmdk")
    assert type(failed.value) is ReaderFailed and not failed.value.retryable
    assert failed.value.on == "[ds] web/web.vmdk" and failed.value.remedy


def test_a_file_beside_another() -> None:
    assert beside("[ds] web/web.vmdk", "w.vmdk") == "[ds] web/w.vmdk"
    assert beside("[ds] web.vmdk", "w.vmdk") == "[ds] w.vmdk"
