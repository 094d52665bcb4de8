"""What every list has: a search by one item at a time, compared exactly, and pages. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from connector.control.console.pages import link

SIZES: Final = (20, 50)
_LAST: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class SearchItem:
    """Something to search by. `word` is its name in an address."""

    word: str
    label: str
    example: str = ""


@dataclass(frozen=True, slots=True)
class Search:
    """The drop-down, and what was typed beside it. An item that does not exist counts as the first."""

    items: Sequence[SearchItem]
    item: SearchItem
    value: str
    part: str = ""  # of a name: narrows the list, whatever is searched for exactly

    @classmethod
    def of(cls, items: Sequence[SearchItem], query: Mapping[str, str]) -> Search:
        wanted = query.get("item", "")
        item = next((found for found in items if found.word == wanted), items[0])
        value = query.get("value", "")
        # No id and no state begins or ends with a space: a pasted one means the same. A name may.
        return cls(
            items, item, value if item.word == "name" else value.strip(), query.get("part", "").strip()
        )

    def given(self, word: str) -> str | None:
        """What to compare this item with; None when it is not searched by."""
        return self.value if self.value and self.item.word == word else None


@dataclass(frozen=True, slots=True)
class Paging:
    """One page of `total` things."""

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
        kept = {
            name: value for name, value in self.query.items() if name in ("item", "value", "status", "part")
        }
        return link(*self.place, **kept, page=number, size=size or self.size)


def wanted_page(query: Mapping[str, str]) -> tuple[int, int]:
    """Number and size of the page that was asked for; what makes no sense counts as the first, the smallest."""
    number, size = query.get("page", ""), query.get("size", "")
    page = int(number) if number.isascii() and number.isdecimal() and len(number) <= 7 else 1
    return min(max(1, page), _LAST), int(size) if size in map(str, SIZES) else SIZES[0]
