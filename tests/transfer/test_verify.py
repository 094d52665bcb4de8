"""Images against their evidence: a flipped byte anywhere is found, and located to its cell."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.errors import BadInput
from connector.model import Extent
from connector.specification.image_formats import BY_NAME
from connector.transfer import digest
from connector.transfer.account import Account, parts_of
from connector.transfer.image import ConvertedImage, MappedImage, RawImage, open_image
from connector.transfer.reasons import Piece, Reason, tile
from connector.transfer.roots import Roots
from connector.transfer.verify import VerificationResult, check
from tests.transfer.conftest import CELL, MIB, make_disk

CAPACITY = 20 * MIB + 3 * 512
NEEDS_QEMU = pytest.mark.skipif(
    shutil.which("qemu-img") is None, reason="needs qemu-img (Debian package qemu-utils)"
)


def account_of(content: bytes, pieces: list[Piece]) -> Account:
    parts = parts_of(pieces, len(content))
    roots = Roots(len(content), parts)
    roots.feed(digest.cells(memoryview(content)))
    found = tuple(roots.piece_roots)
    return Account(len(content), tuple(pieces), tuple(parts), found, found, (roots.whole, roots.whole))


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With its digest table beside it."""
    path = make_disk(tmp_path_factory.mktemp("image") / "2000.raw", CAPACITY)
    table = digest.marked(CAPACITY, digest.cells(memoryview(path.read_bytes())))
    path.with_suffix(".digests").write_bytes(table)
    return path


@pytest.fixture(scope="module")
def account(image: Path) -> Account:
    changed = [Extent(at * CELL, 2 * CELL) for at in range(0, 300, 7)]
    return account_of(image.read_bytes(), tile(CAPACITY, [(Reason.CHANGED, changed)], Reason.UNCHANGED))


def verified(account: Account, path: Path, table: Path | None = None) -> VerificationResult:
    with closing(open_image(path)) as found:
        return check(account, found, table)


def flip(path: Path, at: int, bit: int = 0) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        (was,) = file.read(1)
        file.seek(at)
        file.write(bytes([was ^ (1 << bit)]))


def test_an_intact_image_is_equal(account: Account, image: Path) -> None:
    found = verified(account, image, image.with_suffix(".digests"))
    assert found.equal and found.exact
    assert found.root == account.whole[1].hex()
    assert verified(account, image).equal


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.tuples(st.integers(0, CAPACITY - 1), st.integers(0, 7)), min_size=1, max_size=5))
def test_flipped_bits_anywhere_are_found_and_located(
    account: Account, image: Path, flips: set[tuple[int, int]]
) -> None:
    for at, bit in flips:
        flip(image, at, bit)
    try:
        exact = verified(account, image, image.with_suffix(".digests"))
        coarse = verified(account, image)
    finally:
        for at, bit in flips:
            flip(image, at, bit)
    cells = {at // CELL for at, _ in flips}
    assert {c for e in exact.differences for c in range(e.start // CELL, -(-e.end // CELL))} == cells
    assert exact.exact and not coarse.exact
    for at, _ in flips:
        assert any(e.start <= at < e.end for e in coarse.differences)
        assert account.reasons(Extent(at, 1)) != []


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, -(-CAPACITY // CELL) * 32 - 1), st.integers(0, 7))
def test_a_flipped_bit_of_the_digest_table_is_found_and_blames_no_image(
    account: Account, image: Path, at: int, bit: int
) -> None:
    table = image.with_suffix(".digests")
    flip(table, at, bit)
    try:
        found = verified(account, image, table)
    finally:
        flip(table, at, bit)
    assert found.differences == [] and not found.equal
    assert any(e.start <= at // 32 * CELL < e.end for e in found.table_damaged)


def test_an_image_that_was_cut_and_one_that_was_rounded_up(
    account: Account, image: Path, tmp_path: Path
) -> None:
    cut = Path(shutil.copy(image, tmp_path / "2000.raw"))
    with cut.open("r+b") as file:
        file.truncate(CAPACITY - 3 * CELL)
    first = (CAPACITY - 3 * CELL) // CELL * CELL
    table = image.with_suffix(".digests")
    assert verified(account, cut, table).differences == [Extent(first, CAPACITY - first)]
    with cut.open("r+b") as file:
        file.truncate(0)
        file.write(image.read_bytes())
        file.truncate(32 * MIB)
    assert verified(account, cut, table).equal
    flip(cut, 30 * MIB)
    assert verified(account, cut, table).differences == [Extent(CAPACITY, 32 * MIB - CAPACITY)]


def test_ends_that_differ_in_the_manifest_are_told(account: Account, image: Path) -> None:
    other = replace(account, source=(digest.zeros(1), *account.source[1:]))
    assert verified(other, image).differences == [account.parts[0]]


def convert(image: Path, path: Path, *words: str) -> Path:
    subprocess.run(["qemu-img", "convert", "-f", "raw", *words, str(image), str(path)], check=True)
    return path


#: How each format that an image may have is read, and one that others make.
FORMS: dict[str, tuple[tuple[str, ...], str, type]] = {
    form.name: (("-O", form.driver, *form.options), form.driver, kind)
    for form, kind in (
        (BY_NAME["raw"], RawImage),
        (BY_NAME["qcow2"], MappedImage),
        (BY_NAME["qcow2-compressed"], ConvertedImage),
        (BY_NAME["vmdk"], ConvertedImage),
        (BY_NAME["vhd"], MappedImage),
        (BY_NAME["vhdx"], ConvertedImage),
    )
} | {"vmdk in place": (("-O", "vmdk"), "vmdk", MappedImage)}


def test_every_format_that_an_image_may_have_is_read_here() -> None:
    assert set(BY_NAME) <= set(FORMS)


@NEEDS_QEMU
@pytest.mark.parametrize("name", FORMS)
def test_every_format_is_read_as_what_it_holds(
    account: Account, image: Path, tmp_path: Path, name: str
) -> None:
    words, form, kind = FORMS[name]
    path = convert(image, tmp_path / "2000.image", *words)
    with closing(open_image(path)) as found:
        assert (found.form, type(found)) == (form, kind)
        assert check(account, found, image.with_suffix(".digests")).equal


@NEEDS_QEMU
@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("at", [0, random.Random(4).randrange(CAPACITY), CAPACITY - 1])
def test_a_changed_byte_is_found_in_every_format(
    account: Account, image: Path, tmp_path: Path, name: str, at: int
) -> None:
    other = Path(shutil.copy(image, tmp_path / "other.raw"))
    flip(other, at)
    path = convert(other, tmp_path / "2000.image", *FORMS[name][0])
    found_wrong = verified(account, path, image.with_suffix(".digests"))
    assert found_wrong.differences == [Extent(at // CELL * CELL, min(CELL, CAPACITY - at // CELL * CELL))]


@NEEDS_QEMU
def test_an_image_on_top_of_another_is_read_whole(account: Account, image: Path, tmp_path: Path) -> None:
    base = convert(image, tmp_path / "base.qcow2", "-O", "qcow2")
    words = ["create", "-f", "qcow2", "-b", str(base), "-F", "qcow2", str(tmp_path / "top.qcow2")]
    subprocess.run(["qemu-img", *words], check=True, capture_output=True)
    with closing(open_image(tmp_path / "top.qcow2")) as found:
        assert isinstance(found, ConvertedImage)
        assert check(account, found).equal


@pytest.mark.parametrize("magic", [b"QFI\xfb", b"KDMV", b"# Di", b"conectix", b"vhdxfile"])
def test_a_raw_image_is_raw_whatever_its_guest_wrote_into_the_first_sector(
    tmp_path: Path, magic: bytes
) -> None:
    content = magic + random.Random(1).randbytes(4096 - len(magic))
    path = tmp_path / "2000.raw"
    path.write_bytes(content)
    with closing(open_image(path)) as image:
        room = bytearray(len(content))
        image.read_into(0, memoryview(room))
        assert (image.form, bytes(room)) == ("raw", content)


@NEEDS_QEMU
def test_a_damaged_container_is_bad_input(image: Path, tmp_path: Path) -> None:
    path = convert(image, tmp_path / "x", "-O", "qcow2")
    with path.open("r+b") as file:
        file.truncate(100)
    with pytest.raises(BadInput, match="qemu-img failed"):
        open_image(path)


@pytest.mark.parametrize("make", [lambda p: p, lambda p: p.parent])
def test_what_cannot_be_opened_is_bad_input(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        open_image(make(tmp_path / "nothing"))
