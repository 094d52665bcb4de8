"""Files served by a vCenter that we did not write: vcsim. Its snapshots have no content, so only files are read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from random import Random

import pytest

from connector.errors import ReaderFailed
from connector.model import Extent, MachineDisk
from connector.sources.descriptor import LONGEST, flat_file
from connector.sources.disk_source import DiskSource
from connector.sources.file_connection import FileConnection, Way, whole_text
from connector.sources.https import ERRORS, beside
from connector.sources.ranged_file import RangedFile
from connector.sources.reader import SourceChanged
from connector.vcenter.client import VCenter
from connector.vcenter.trust import PinnedConnection, VCenterTrust
from tests.sources.test_descriptor import FLAT
from tests.vcenter.ledger import Memory
from tests.vcenter.witness import vcsim

MIB = 1 << 20
CONTENT = Random(7).randbytes(8 * MIB)


class Store:
    """A datastore of vcsim, seen from the disk of a machine."""

    def __init__(self, vcenter: VCenter, disk: MachineDisk) -> None:
        self._vcenter, self._disk = vcenter, disk
        self.path = beside(disk.path, "web.vmdk")

    def put(self, name: str, content: bytes) -> None:
        route = self._vcenter.file_route(beside(self.path, name), self._disk)
        connection = PinnedConnection(route.host, route.port, trust=VCenterTrust(route.pin, route.authority))
        with closing(connection):
            connection.request("PUT", route.target, content, {"Cookie": route.cookie})
            assert connection.getresponse().status in (200, 201)

    def way(self, path: str) -> Way:
        return Way(lambda: self._vcenter.file_route(path, self._disk))

    def file(self, name: str, capacity: int = len(CONTENT)) -> DiskSource:
        path = beside(self.path, name)
        file = RangedFile(
            self.way(path).route, path, capacity, connections=3, silence=20.0, in_use=lambda: [(0, capacity)]
        )
        return DiskSource(file, path, ERRORS, 4)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with (
        vcsim(tmp_path_factory.mktemp("vcsim")) as witness,
        VCenter(witness.settings(), owner="site-a", ledger=Memory()) as vcenter,
    ):
        made = Store(vcenter, vcenter.find("/DC0/vm/DC0_H0_VM0").disks[0])
        made.put("web.vmdk", FLAT.encode())
        made.put("web-flat.vmdk", CONTENT)
        yield made


def whole(source: DiskSource) -> bytes:
    data = bytearray(source.capacity)
    for block in source.read([Extent(0, source.capacity)]):
        data[block.offset : block.offset + len(block.data)] = block.data
        block.release()
    return bytes(data)


def test_a_descriptor_and_the_flat_file_that_it_names(store: Store) -> None:
    text = whole_text(FileConnection(store.way(store.path), store.path, 20.0), LONGEST, store.path)
    flat = flat_file(text, store.path)
    assert flat.length == len(CONTENT)
    with closing(store.file(flat.name, flat.length)) as source:
        assert whole(source) == CONTENT


def test_a_file_of_another_size(store: Store) -> None:
    with (
        closing(store.file("web-flat.vmdk", 4 * MIB)) as source,
        pytest.raises(SourceChanged, match="8388608"),
    ):
        whole(source)


def test_a_file_that_is_not_there(store: Store) -> None:
    with (
        closing(store.file("missing-flat.vmdk")) as source,
        pytest.raises(ReaderFailed, match="no such file"),
    ):
        whole(source)
