"""Every list has pages, and a search that compares one item exactly. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from connector.control.console.pages import link

SIZES: Final = (20, 50)
_LAST: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class SearchItem:
    """An item to search by. `word` is its name in an address."""

    word: str
    label: str
    example: str = ""


@dataclass(frozen=True, slots=True)
class Search:
    """The item of the drop-down and the text beside it. An unknown item counts as the first."""

    items: Sequence[SearchItem]
    item: SearchItem
    value: str
    part: str = ""  # part of a name; it narrows the list besides the exact search

    @classmethod
    def of(cls, items: Sequence[SearchItem], query: Mapping[str, str]) -> Search:
        word = query.get("item", "")
        item = next((candidate for candidate in items if candidate.word == word), items[0])
        value = query.get("value", "")
        # No id and no state begins or ends with a space, so pasted spaces are dropped. A name may have them.
        return cls(
            items, item, value if item.word == "name" else value.strip(), query.get("part", "").strip()
        )

    def given(self, word: str) -> str | None:
        """The value to compare this item with; None if the search is by another item."""
        return self.value if self.value and self.item.word == word else None


@dataclass(frozen=True, slots=True)
class Paging:
    """One page of `total` rows."""

    number: int
    size: int
    total: int
    place: tuple[str, ...]
    query: Mapping[str, str]

    @property
    def last(self) -> int:
        return max(1, -(-self.total // self.size))

    @property
    def first_shown(self) -> int:
        return min(self.total, (self.number - 1) * self.size + 1)

    @property
    def last_shown(self) -> int:
        return min(self.total, self.number * self.size)

    def to(self, number: int, size: int = 0) -> str:
        """The address of another page of the same search."""
        parameters = {
            name: value for name, value in self.query.items() if name in ("item", "value", "status", "part")
        }
        return link(*self.place, **parameters, page=number, size=size or self.size)


def wanted_page(query: Mapping[str, str]) -> tuple[int, int]:
    """Number and size of the requested page. An invalid number counts as the first page, an invalid size as the smallest."""
    number, size = query.get("page", ""), query.get("size", "")
    page = int(number) if number.isascii() and number.isdecimal() and len(number) <= 7 else 1
    return min(max(1, page), _LAST), int(size) if size in map(str, SIZES) else SIZES[0]
