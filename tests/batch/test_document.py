"""Text to values with their places; and no bytes whatever that crash the reader."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from connector.batch import document
from connector.batch.document import read
from connector.batch.parse import parse
from connector.batch.problems import FilePosition, ManifestRefused

SEEDS = sorted((Path(__file__).parent.parent.parent / "fixtures" / "manifests").iterdir())
ROOT = Path(__file__).parent.parent.parent


def refused(content: bytes) -> ManifestRefused:
    with pytest.raises(ManifestRefused) as found:
        read(content, "wave.yaml")
    return found.value


def test_every_value_knows_its_place() -> None:
    found = read(b"a: 1\nb:\n  - x: on\n    y: 22:00\n  - [1, 2.5, null]\n", "f")
    assert found.value == {"a": 1, "b": [{"x": "on", "y": "22:00"}, [1, 2.5, None]]}
    assert found.mark(("b", 0, "y")) == FilePosition(4, 8)
    assert found.key_mark(("b", 0, "y")) == FilePosition(4, 5)
    assert found.mark(("b", 7, "z")) == FilePosition(3, 3)  # the nearest that exists


def test_an_alias_is_the_value_it_names() -> None:
    assert read(b"a: &x {b: 1}\nc: *x\n", "f").value == {"a": {"b": 1}, "c": {"b": 1}}


BAD = {
    "a: [1": ("2:1", "not YAML"),
    "a: 1\nb: 2\na: 3": ("3:1", "comes twice"),
    "a: b\n  c: d": ("2:4", "not YAML"),
    "a: &a [*a]": ("1:4", "unfold"),
    "[" * 100_000: ("1:25", "nested deeper"),
    "": ("1:1", "empty"),
    "a: \x00": ("1:4", "#x0000"),
    "--- 1\n--- 2": ("2:1", "second document"),
    "? [1]\n: 2": ("1:3", "plain word"),
    "a: !!python/object/apply:os.system [x]": ("1:4", "tags"),
    "a: *b": ("1:4", "no anchor"),
    "x: {<<: {a: 1}}": ("1:5", "merge keys"),
}


@pytest.mark.parametrize("text", BAD, ids=[text[:12] for text in BAD])
def test_what_is_no_manifest_is_refused_with_its_place(text: str) -> None:
    place, words = BAD[text]
    said = str(refused(text.encode()))
    assert said.startswith(f"wave.yaml:{place}: ")
    assert words in said


def test_bytes_that_are_not_utf8_are_named_by_line_and_column() -> None:
    assert str(refused(b"a: 1\nb: \xff")).startswith("wave.yaml:2:4: this is not UTF-8")


def test_a_bomb_of_aliases_is_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    began = time.process_time()
    assert "unfold" in str(refused("\n".join(lines).encode()))
    assert time.process_time() - began < 5


def test_size_and_number_of_values_are_bounded() -> None:
    assert "larger than" in str(refused(b"#" * (document.MAX_BYTES + 1)))
    assert "values" in str(refused(b"[" + b"1," * document.MAX_NODES + b"1]"))
    name = read(b"a: " + b"x" * (document.MAX_BYTES - 10), "f").value[
        "a"
    ]  # a long name is no reason to crash
    assert len(name) > 4_000_000


def survives(content: bytes) -> None:
    try:
        parse(content, "f")
    except ManifestRefused as wrong:
        assert wrong.problems
        assert all(p.mark.line >= 1 and p.mark.column >= 1 for p in wrong.problems)
        assert "\n" not in str(wrong)


@given(st.binary(max_size=400))
@example(b"\xef\xbb\xbf")
@example(b"%YAML 9.9\n---\n")
def test_no_bytes_crash_the_reader(content: bytes) -> None:
    survives(content)


@given(seed=st.sampled_from(SEEDS), data=st.data())
def test_no_change_of_a_manifest_crashes_the_reader(seed: Path, data: st.DataObject) -> None:
    content = bytearray(seed.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, max(0, len(content) - 1)))
        cut = data.draw(st.integers(0, 12))
        content[at : at + cut] = data.draw(st.sampled_from(PIECES) | st.binary(max_size=6))
    survives(bytes(content))


PIECES = [
    b"{", b"}", b"[", b"]", b"&a ", b"*a", b": ", b"- ", b"\n", b"? ", b"!!int ", b"|\n ", b">", b"'", b'"', b"\t",
    b"null", b"true", b"-1", b"1e999", b"9" * 5000, b"name: ", b"machines:", b"<<: *a", b"\xe2\x80\xa8", b"#", b"%",
]  # fmt: skip


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: seed.name)
def test_seeds_are_read_or_refused(seed: Path) -> None:
    survives(seed.read_bytes())
