"""One word per thing and one thing per word: names of classes have one home, and words that say nothing stay away."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
FILES: Final = [
    file
    for package in ("connector", "vddk", "nfc", "simulator", "tools", "deploy")
    for file in sorted((ROOT / package).rglob("*.py"))
]

#: Words that docs/glossary.md replaces by a word of the field.
BANNED: Final = frozenset(
    word
    for line in (
        "bench complaint deed deeds desk door doors doorstep dressed entrance errand errands leaf leaves notary practice roster",
        "standing thing things toll tolls wish wished wishes workbench",
    )
    for word in line.split()
)
#: Where such a word is what it names in plain English.
ALLOWED: Final = {
    ("leaf", "connector/offline/initramfs.py"): "a node of a tree",
    ("errands", "connector/control/agents/messages.py"): "the field's name on the wire",
    ("errands", "connector/control/agents/api.py"): "the same",
}
#: Classes of one name in several rooms that mean the same thing.
SAME_THING: Final[frozenset[str]] = frozenset()


def _words(name: str) -> list[str]:
    return [word.lower() for word in re.split(r"_|(?<=[a-z])(?=[A-Z])", name) if word]


def _names(file: Path) -> Iterator[str]:
    for token in tokenize.generate_tokens(io.StringIO(file.read_text()).readline):
        if token.type == tokenize.NAME:
            yield token.string


def test_no_name_uses_a_word_that_was_replaced() -> None:
    used = {
        (word, str(file.relative_to(ROOT)))
        for file in FILES
        for name in {*_names(file), file.stem}
        for word in BANNED.intersection(_words(name))
    }
    assert not used - ALLOWED.keys()


def test_every_exception_is_still_needed() -> None:
    for word, path in ALLOWED:
        assert word in {part for name in _names(ROOT / path) for part in _words(name)}


def test_a_public_class_name_has_one_home() -> None:
    homes: dict[str, list[str]] = defaultdict(list)
    for file in FILES:
        if file.is_relative_to(ROOT / "connector"):
            for node in ast.parse(file.read_text()).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    homes[node.name].append(str(file.relative_to(ROOT)))
    assert not {name: files for name, files in homes.items() if len(files) > 1 and name not in SAME_THING}


def test_the_glossary_defines_each_word_once_in_order() -> None:
    lines = (ROOT / "docs" / "glossary.md").read_text().splitlines()
    words = [line.split("|")[1].strip() for line in lines if re.match(r"\| [A-Za-z]", line)]
    table = words[1:]
    assert len(set(table)) == len(table)
