"""Reading and allocation through one to four layers agree with the slow Python reader, for any layout."""

import random
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.vixdisklib.client import Client
from tests.vixdisklib.conftest import Start
from tests.vixdisklib.estate import GRAIN, Estate, Layer, reference

SECTORS = GRAIN // 512
CHUNK = 128
_names = count()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


grains = st.dictionaries(st.integers(0, 79), st.integers(0, 255), max_size=60)
stacks = st.lists(grains, min_size=1, max_size=4)
tails = st.integers(0, SECTORS - 1)
ranges = st.lists(st.tuples(st.integers(0, 700), st.integers(1, 700)), min_size=1, max_size=6)


@pytest.fixture
def client(start: Start) -> Iterator[Client]:
    client = start(noise=0, require_thumbprint=0)
    client.init()
    yield client


def _publish(estate: Estate, stack: list[dict[int, int]], tail: int) -> list[Layer]:
    """The last of `stack` is the base. Capacities are no multiples of a grain or of 64 KiB."""
    capacity = 80 * GRAIN + tail * 512
    layers = []
    for depth, contents in enumerate(stack):
        data = {grain: bytes([value]) * GRAIN for grain, value in contents.items()}
        path = estate.root / f"layer{next(_names)}"
        layers.append(Layer(path, capacity, data, mapped=depth < len(stack) - 1))
    estate.view(layers)
    return layers


def _allocated(layers: list[Layer], chunk_bytes: int, end: int) -> set[int]:
    """Chunks that hold a set grain of a mapped layer, or stored data of the base."""
    chunks = set()
    for layer in layers:
        chunks |= {grain * GRAIN // chunk_bytes for grain in layer.data if grain * GRAIN < end}
    return chunks


def _chunks(answer: str, chunk: int) -> set[int]:
    code, *runs = answer.split()
    assert code == "0"
    parsed = [tuple(map(int, run.split("+"))) for run in runs]
    assert all(start % chunk == 0 and length % chunk == 0 and length for start, length in parsed)
    assert all(a[0] + a[1] < b[0] for a, b in pairwise(parsed)), "ordered, merged"
    return {one for start, length in parsed for one in range(start // chunk, (start + length) // chunk)}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stack=stacks, tail=tails, wanted=ranges)
def test_reads_agree_with_the_reference(
    client: Client,
    estate: Estate,
    tmp_path: Path,
    stack: list[dict[int, int]],
    tail: int,
    wanted: list[tuple[int, int]],
) -> None:
    layers = _publish(estate, stack, tail)
    expected = reference(layers)
    assert [client.connect(), client.open()] == ["0", "0"]
    for start, length in wanted:
        code = client.do("read", 0, start, length, tmp_path / "out")
        if (start + length) * 512 > len(expected):
            assert code == "16007"
        else:
            assert code == "0"
            assert (tmp_path / "out").read_bytes() == expected[start * 512 : (start + length) * 512]
    client.do("close", 0)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stack=stacks, tail=tails, chunk=st.sampled_from([128, 136, 256]), first=st.integers(0, 3))
def test_allocation_is_the_union_rounded_out_to_chunks(
    client: Client, estate: Estate, stack: list[dict[int, int]], tail: int, chunk: int, first: int
) -> None:
    layers = _publish(estate, stack, tail)
    assert [client.connect(), client.open()] == ["0", "0"]
    sectors = layers[0].capacity // 512 // chunk * chunk
    start = min(first * chunk, sectors - chunk)
    answer = client.do("query", 0, start, sectors - start, chunk)
    expected = {one for one in _allocated(layers, chunk * 512, sectors * 512) if one >= start // chunk}
    assert _chunks(answer, chunk) == expected
    client.do("close", 0)


@pytest.mark.parametrize(
    ("first", "length", "chunk", "code"),
    [
        (0, 256, 128, "0"),
        (128, 128, 128, "0"),
        (0, 0, 128, "3"),
        (0, 127, 127, "3"),
        (64, 128, 128, "3"),
        (0, 200, 128, "3"),
        (256, 128, 128, "3"),
        (0, 2**64 - 128, 128, "3"),
        (2**63, 2**63, 128, "3"),
    ],
)
@pytest.mark.usefixtures("layers")
def test_ranges_that_a_query_refuses(start: Start, first: int, length: int, chunk: int, code: str) -> None:
    assert start().opened().do("query", 0, first, length, chunk).split()[0] == code


def test_a_disk_of_62_tib(start: Start, estate: Estate, tmp_path: Path, stack: ExitStack) -> None:
    """Offsets, maps and queries beyond 32 bits; the last sector is read and found allocated."""
    capacity = 62 * 2**40
    memory = Path("/dev/shm")
    if not memory.is_dir():
        pytest.skip("needs tmpfs: most file systems end at 16 TiB")
    folder = Path(stack.enter_context(TemporaryDirectory(dir=memory)))
    top, base = folder / "top", folder / "base"
    far = capacity // GRAIN - 1
    for path, grain in ((top, far), (base, far - 2**30)):
        with path.open("wb") as file:
            file.truncate(capacity)
            file.seek(grain * GRAIN)
            file.write(path.name[:1].encode() * GRAIN)
    with Path(f"{top}.map").open("wb") as bits:
        bits.truncate(capacity // GRAIN // 8)
        bits.seek(far // 8)
        bits.write(bytes([1 << far % 8]))
    folder = estate.root / "vm-16" / "snapshot-7"
    folder.mkdir(parents=True)
    (folder / "disks").write_text(f"[ds one] web/web.vmdk\t{capacity}\tide\tu\tpersistent\t{top}\t{base}\n")
    client = start().opened()
    sectors = capacity // 512
    assert client.do("read", 0, sectors - 16, 16, tmp_path / "out") == "0"
    assert (tmp_path / "out").read_bytes() == bytes(GRAIN) + b"t" * GRAIN
    assert client.do("query", 0, sectors - 2**31, 2**31, 4096) == f"0 {sectors - 4096}+4096"
    assert client.do("query", 0, 0, 524288 * 128, 128) == "0"
    assert client.do("query", 0, 0, 524289 * 128, 128) == "3"
    below = (far - 2**30) * SECTORS // 131072 * 131072
    assert client.do("query", 0, below - 131072, 2 * 131072, 131072) == f"0 {below}+131072"


def test_maps_shorter_than_the_disk_and_data_shorter_than_the_map(
    start: Start, estate: Estate, tmp_path: Path
) -> None:
    base = estate.layer("base", 40 * GRAIN, mapped=False, g39=b"b" * GRAIN)
    top = estate.layer("top", 40 * GRAIN, g3=b"t" * GRAIN)
    estate.view([top, base])
    Path(f"{top.path}.map").write_bytes(bytes([0x18]))
    with top.path.open("r+b") as file:
        file.truncate(4 * GRAIN + 100)
    client = start().opened()
    assert client.do("read", 0, 0, 320, tmp_path / "out") == "0"
    assert (tmp_path / "out").read_bytes() == reference([top, base])


def test_a_grain_written_while_the_disk_is_open_is_seen(start: Start, estate: Estate, tmp_path: Path) -> None:
    base = estate.layer("base", 20 * GRAIN, mapped=False, g1=b"b" * GRAIN)
    top = estate.layer("top", 20 * GRAIN)
    estate.view([top, base])
    client = start().opened()
    top.data[1] = b"n" * GRAIN
    with top.path.open("r+b") as file:
        file.seek(GRAIN)
        file.write(top.data[1])
    with Path(f"{top.path}.map").open("r+b") as file:
        file.write(b"\x02")
    client.do("read", 0, 0, 160, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == reference([top, base])


def test_a_large_random_stack(start: Start, estate: Estate, tmp_path: Path) -> None:
    """Runs that cross the windows of the map (128 MiB) and of the 64-bit skips."""
    dice = random.Random(7)
    capacity = 300 * 2**20 + 512
    base = Layer(
        estate.root / "base",
        capacity,
        {n: bytes([n % 251]) * GRAIN for n in range(0, 70000, 7)},
        mapped=False,
    )
    solid = dict.fromkeys(range(32700, 33000), b"U" * GRAIN)
    sparse = {dice.randrange(76800): b"\x66" * GRAIN for _ in range(300)}
    top = Layer(estate.root / "top", capacity, solid | sparse)
    estate.view([top, base])
    expected = reference([top, base])
    client = start().opened()
    for begin in (0, 32768 * SECTORS - 4000, 65536 * SECTORS - 1, 490000):
        sectors = min(60000, capacity // 512 - begin)
        assert client.do("read", 0, begin, sectors, tmp_path / "out") == "0"
        assert (tmp_path / "out").read_bytes() == expected[begin * 512 : (begin + sectors) * 512]
    sectors = capacity // 512 // CHUNK * CHUNK
    assert _chunks(client.do("query", 0, 0, sectors, CHUNK), CHUNK) == _allocated(
        [top, base], CHUNK * 512, sectors * 512
    )
