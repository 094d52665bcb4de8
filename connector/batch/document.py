"""A YAML file becomes plain values that know their places in the file. Size, depth and aliases are bounded. Pure.

Scalars are those of YAML 1.2: `on`, `22:00` and dates are text. Aliases are followed within the bounds. Tags, merge keys,
duplicate keys and second documents are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from connector.batch.problems import FilePosition, ManifestRefused, Problem

MAX_BYTES: Final = 4 << 20
MAX_DEPTH: Final = 24
MAX_NODES: Final = 200_000

_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_WHOLE: Final = re.compile(r"[-+]?[0-9]{1,18}\Z")
_DECIMAL: Final = re.compile(r"[-+]?[0-9]{1,18}\.[0-9]{1,18}\Z")
_WORDS: Final[dict[str, Any]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}

#: Where a value is: keys and indices from the root.
Path = tuple[str | int, ...]


@dataclass(slots=True)
class YamlNode:
    """One value of the file. `items` is set for lists, `entries` for mappings (key -> its place and value)."""

    mark: FilePosition
    scalar: Any = None
    items: list[YamlNode] | None = None
    entries: dict[str, tuple[FilePosition, YamlNode]] | None = None

    @property
    def kind(self) -> str:
        if self.entries is not None:
            return "mapping"
        return "list" if self.items is not None else "value"


class Wrong(Exception):
    """The text cannot be read. The exception has the problem's text, place and remedy."""

    def __init__(self, what: str, mark: FilePosition, remedy: str = "") -> None:
        super().__init__(what)
        self.problem = Problem(what, mark, remedy)


@dataclass(frozen=True, slots=True)
class Document:
    """A file's content: `value` is made of dict, list, str, int, float, bool and None."""

    file: str
    root: YamlNode
    value: Any

    def mark(self, path: Path) -> FilePosition:
        """The place of a value, or of the nearest existing value around it."""
        return self._walk(path)[0]

    def key_mark(self, path: Path) -> FilePosition:
        """The place of a value's key."""
        return self._walk(path)[1]

    def known(self, path: Path) -> Path:
        """The part of `path` that exists in this file."""
        node, existing = self.root, []
        for step in path:
            if (below := _below(node, step)) is not None:
                node = below[1]
                existing.append(step)
        return tuple(existing)

    def _walk(self, path: Path) -> tuple[FilePosition, FilePosition]:
        node, key = self.root, self.root.mark
        for step in path:
            if (below := _below(node, step)) is not None:
                key, node = below
        return node.mark, key


def read(content: bytes, file: str) -> Document:
    """Read one YAML document within the bounds. Raises `ManifestRefused` for anything else."""
    try:
        root = _Composer(_decoded(content)).compose()
        return Document(file, root, _Unfolding().value(root, 0))
    except Wrong as wrong:
        raise ManifestRefused(file, [wrong.problem]) from None


def _decoded(content: bytes) -> str:
    if len(content) > MAX_BYTES:
        raise Wrong(
            f"the file is larger than {MAX_BYTES >> 20} MiB",
            FilePosition(),
            "split the wave into several manifests",
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as broken:
        line = content.count(b"\n", 0, broken.start) + 1
        column = broken.start - content.rfind(b"\n", 0, broken.start)
        raise Wrong("this is not UTF-8", FilePosition(line, column), "save the file as UTF-8") from None
    if match := yaml.reader.Reader.NON_PRINTABLE.search(text):
        line = text.count("\n", 0, match.start()) + 1
        column = match.start() - text.rfind("\n", 0, match.start())
        raise Wrong(
            f"the character #x{ord(match.group()):04x} is not allowed",
            FilePosition(line, column),
            "remove it",
        )
    return text


@dataclass(slots=True)
class _Composer:
    """Builds nodes from parser events, without recursion, so that deep input cannot exhaust the stack."""

    text: str
    anchors: dict[str, YamlNode] = field(default_factory=dict)
    count: int = 0

    def compose(self) -> YamlNode:
        root: YamlNode | None = None
        open_nodes: list[YamlNode] = []
        keys: list[tuple[str, FilePosition] | None] = []
        for event in self._events():
            mark = _mark(event.start_mark)
            if isinstance(event, yaml.DocumentStartEvent) and root is not None:
                raise Wrong("a second document begins here", mark, "one manifest per file")
            if isinstance(event, yaml.CollectionEndEvent):
                open_nodes.pop()
                keys.pop()
            if not isinstance(event, yaml.NodeEvent):
                continue
            node = self._node(event, mark)
            if not open_nodes:
                root = node
            elif not self._put(open_nodes[-1], keys, node, event):
                continue  # it was a key
            if isinstance(event, yaml.CollectionStartEvent):
                if len(open_nodes) >= MAX_DEPTH:
                    raise Wrong(f"nested deeper than {MAX_DEPTH} levels", mark, "a manifest needs far less")
                open_nodes.append(node)
                keys.append(None)
        if root is None:
            raise Wrong("the file is empty", FilePosition(), "see config/manifest.yaml for an example")
        return root

    def _events(self) -> Iterator[Any]:
        try:
            yield from yaml.parse(self.text, Loader=_LOADER)
        except yaml.MarkedYAMLError as broken:
            problem = broken.problem or broken.context or "this is not YAML"
            remedy = "check indentation, quotes and brackets around this place"
            raise Wrong(
                f"not YAML: {problem}", _mark(broken.problem_mark or broken.context_mark), remedy
            ) from None
        except yaml.YAMLError as broken:
            raise Wrong(f"not YAML: {' '.join(str(broken).split())[:200]}", FilePosition()) from None

    def _node(self, event: Any, mark: FilePosition) -> YamlNode:
        self.count += 1
        if self.count > MAX_NODES:
            raise Wrong(f"more than {MAX_NODES} values", mark, "split the wave into several manifests")
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self.anchors:
                raise Wrong(f"no anchor is called {str(event.anchor)[:80]}", mark, "define it above with &")
            return self.anchors[event.anchor]
        if event.tag is not None and event.tag not in ("!", "tag:yaml.org,2002:str"):
            raise Wrong("tags are not accepted", mark, "write the plain value")
        node = YamlNode(mark)
        if isinstance(event, yaml.ScalarEvent):
            node.scalar = _scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            node.items = []
        else:
            node.entries = {}
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        return node

    def _put(
        self, parent: YamlNode, keys: list[tuple[str, FilePosition] | None], node: YamlNode, event: Any
    ) -> bool:
        """Put a node into its list or under its key; False if `node` is itself the key."""
        if parent.items is not None:
            parent.items.append(node)
            return True
        if parent.entries is None:
            raise AssertionError("a scalar holds no values")
        if keys[-1] is not None:
            name, key_mark = keys[-1]
            keys[-1] = None
            parent.entries[name] = (key_mark, node)
            return True
        mark = _mark(event.start_mark)
        if not isinstance(event, yaml.ScalarEvent):
            raise Wrong("a key must be a plain word", mark, "write KEY: VALUE")
        if event.value == "<<":
            raise Wrong("merge keys are not accepted", mark, "put what is common under defaults")
        if event.value in parent.entries:
            first = parent.entries[event.value][0].line
            raise Wrong(f"the key {event.value[:80]!r} comes twice", mark, f"the first is in line {first}")
        keys[-1] = (event.value, mark)
        return False


@dataclass(slots=True)
class _Unfolding:
    """Turns nodes into values. Aliases can make a small file large, so the values are counted."""

    count: int = 0

    def value(self, node: YamlNode, depth: int) -> Any:
        self.count += 1
        if self.count > MAX_NODES or depth > MAX_DEPTH:
            raise Wrong("aliases unfold to too much", node.mark, "write it out, or split the wave")
        if node.items is not None:
            return [self.value(item, depth + 1) for item in node.items]
        if node.entries is not None:
            return {name: self.value(entry, depth + 1) for name, (_, entry) in node.entries.items()}
        return node.scalar


def _below(node: YamlNode, step: str | int) -> tuple[FilePosition, YamlNode] | None:
    if node.entries is not None and isinstance(step, str):
        return node.entries.get(step)
    if node.items is not None and isinstance(step, int) and 0 <= step < len(node.items):
        return node.items[step].mark, node.items[step]
    return None


def _scalar(event: Any) -> Any:
    text: str = event.value
    if not event.implicit[0]:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _WHOLE.match(text):
        return int(text)
    return float(text) if _DECIMAL.match(text) else text


def _mark(mark: Any) -> FilePosition:
    return FilePosition() if mark is None else FilePosition(mark.line + 1, mark.column + 1)
