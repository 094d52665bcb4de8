"""The tree over a digest table: what its root says, and that it is the same however it is computed."""

from __future__ import annotations

from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from connector.model import Extent
from connector.transfer import digest, tree
from connector.transfer.extents import CELL
from connector.transfer.roots import Roots
from connector.transfer.tree import BLANK, ENTRIES, PAGE, Tree


def entry(number: int) -> bytes:
    return bytes(blake3(b"%d" % number).digest())


def test_the_root_of_a_disk_is_what_others_can_compute_from_its_bytes() -> None:
    """By hand, without our functions: one page of data, one of zeros, a short one with a short cell."""
    content = bytearray(2 * PAGE + CELL + 512)
    content[5] = 1
    content[-1] = 2
    cells = [bytes(content[at : at + CELL]) for at in range(0, len(content), CELL)]
    entries = [bytes(blake3(cell).digest()) if any(cell) else bytes(32) for cell in cells]
    pages = [b"".join(entries[at : at + 256]) for at in range(0, len(entries), 256)]
    nodes = [bytes(blake3(page).digest()) if any(page) else bytes(32) for page in pages]
    wanted = blake3(len(content).to_bytes(8, "big") + b"".join(nodes)).digest()
    assert nodes[1] == BLANK and len(nodes) == 3
    assert tree.nodes(b"".join(entries)) == b"".join(nodes)
    assert tree.root(len(content), b"".join(nodes)) == wanted
    roots = Roots(len(content), [Extent(0, len(content))])
    roots.feed(digest.cells(memoryview(content)))
    assert roots.whole == wanted


def test_the_capacity_counts_though_everything_is_zero() -> None:
    assert tree.root(PAGE, BLANK) != tree.root(PAGE - 512, BLANK)


@given(st.lists(st.integers(0, 2), min_size=1, max_size=700), st.lists(st.integers(1, 300), max_size=10))
def test_it_does_not_matter_how_the_entries_come(content: list[int], cuts: list[int]) -> None:
    entries = b"".join(entry(n) if n else digest.MARK for n in content)
    made, at = Tree(len(content) * CELL), 0
    for size in [*cuts, len(content)]:
        made.feed(entries[at * 32 : (at + size) * 32])
        at += size
    assert made.root == tree.root(len(content) * CELL, tree.nodes(entries))
    assert len(tree.nodes(entries)) == 32 * tree.count(len(content) * CELL)


def test_any_entry_changes_its_node_and_the_root() -> None:
    entries = b"".join(entry(n) for n in range(600))
    before = tree.nodes(entries)
    changed = bytearray(entries)
    changed[300 * 32 + 7] ^= 1
    after = tree.nodes(bytes(changed))
    assert [before[n : n + 32] == after[n : n + 32] for n in range(0, 96, 32)] == [True, False, True]
    assert tree.root(600 * CELL, before) != tree.root(600 * CELL, after)
    assert len(entries) > ENTRIES
