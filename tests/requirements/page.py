"""The page that says which test shows which requirement; made from `rows.yaml` and from the names of the tests.

python -m tests.requirements.page      # writes docs/requirements.md
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

TESTS: Final = Path(__file__).parents[1]
ROOT: Final = TESTS.parent
PAGE: Final = ROOT / "docs" / "requirements.md"
GUIDE: Final = ROOT / "docs" / "user-guide"
ROWS: Final = Path(__file__).with_name("rows.yaml")

_TEST: Final = re.compile(r"^\s*(?:async )?def (test_\w+)\(", re.MULTILINE)
_NUMBER: Final = re.compile(r"(?<=_)([rx][0-9]+)(?=_|$)")


class Row(BaseModel):
    """One requirement."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    parts: str = Field(pattern="^[CPIUD]+$")
    how: Literal["yes", "adapted", "refused", "documented"]
    text: str
    guide: str = ""
    pending: str = ""

    @property
    def needs_test(self) -> bool:
        return bool({"P", "U"} & set(self.parts)) and self.how != "documented"

    @property
    def needs_guide(self) -> bool:
        return "D" in self.parts or self.how == "documented"


@dataclass(frozen=True)
class Shown:
    file: str
    name: str

    @property
    def numbers(self) -> list[str]:
        """The requirements that its name holds."""
        return [number.upper() for number in _NUMBER.findall(self.name)]


def rows() -> dict[str, Row]:
    """Every requirement by its number."""
    return {number: Row.model_validate(row) for number, row in yaml.safe_load(ROWS.read_text()).items()}


def numbered() -> list[Shown]:
    """Every test whose name holds a number, in the order of files."""
    found = []
    for path in sorted(TESTS.rglob("test_*.py")):
        file = str(path.relative_to(ROOT))
        found += [Shown(file, name) for name in _TEST.findall(path.read_text())]
    return [test for test in found if test.numbers]


def anchors(page: Path) -> set[str]:
    """The anchors of a Markdown page's headings, as they are linked."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


def document() -> str:
    """The page."""
    found: dict[str, list[Shown]] = {}
    for test in numbered():
        for number in test.numbers:
            found.setdefault(number, []).append(test)
    return _HEAD + "\n".join(_line(n, row, found.get(n, [])) for n, row in rows().items()) + "\n"


def _line(number: str, row: Row, shown_by: list[Shown]) -> str:
    shown = [*_tests(shown_by), *([f"brought by the {row.pending} part"] if row.pending else [])]
    guide = f"[guide](user-guide/{row.guide})" if row.guide else ""
    cells = (number, row.text, " ".join(row.parts), row.how, "<br>".join(filter(None, [*shown, guide])))
    return "| " + " | ".join(cells) + " |"


def _tests(found: list[Shown]) -> Iterator[str]:
    for test in dict.fromkeys(found):
        yield f"[{test.name}](../{test.file})"


_HEAD: Final = """# Requirements

What the control plane, the appliance, the instance, the console and the guide must do, and what shows it. Made from
`tests/requirements/rows.yaml` and from the names of the tests by `make documents`; a test fails when this
page is out of date.

Parts: C appliance, P control plane, I instance, U console and command line, D guide. *adapted*: in the way that fits a
migration without an agent; *refused*: a clear refusal instead; *documented*: nothing to build.

| | requirement | parts | how | shown by |
|---|---|---|---|---|
"""


if __name__ == "__main__":
    PAGE.write_text(document())
