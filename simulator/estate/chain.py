"""A virtual disk is a tree of layers, snapshots that point to layers, and one layer that is written.

A layer with children, or to which a snapshot points, never changes again. There is one exception: when no snapshot points to
it, the data of its only child may be merged into it. Every view reads the same bytes before, during and after that.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from simulator.estate import store
from simulator.estate.areas import Area, merge, union
from simulator.estate.errors import InvalidState, NotFound
from simulator.estate.layers import GRAIN, Layer

SECTOR = 512
_STEP = 4 << 20  # bytes folded per hold of the lock: guest writes wait for no more than this


@dataclass(frozen=True)
class Node:
    """Where a layer hangs: its parent's id (None: it is a base) and the file name vSphere would show."""

    parent: int | None
    name: str


@dataclass(frozen=True)
class Shape:
    """The content of `chain.json`. `points` maps snapshot morefs to the layer that was on top when they were taken."""

    capacity: int
    stem: str
    top: int
    next: int
    nodes: dict[str, Node]
    points: dict[str, int] = field(default_factory=dict)


class DiskChain:
    """The layers of one disk in one directory. Every method may be called from any thread.

    Changes of shape are on disk before they are visible; reopening the directory after a kill gives the same
    disk.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock = threading.RLock()
        self._shape = store.build(Shape, store.load(directory / "chain.json"))
        self._remove_strays()
        self._layers = {number: self._open(number) for number in self._ids()}
        self._touched: list[tuple[int, int]] | None = None

    @classmethod
    def create(cls, directory: Path, stem: str, capacity: int, base: Path | None = None) -> "DiskChain":
        """A new disk of `capacity` bytes; the file `base` becomes its first layer (moved, so: same file
        system).
        """
        directory.mkdir(parents=True, exist_ok=True)
        if base is not None:
            base.replace(directory / "0.raw")
        nodes = {"0": Node(None, f"{stem}.vmdk")}
        store.save(directory / "chain.json", Shape(capacity, stem, top=0, next=1, nodes=nodes))
        return cls(directory)

    @property
    def capacity(self) -> int:
        return self._shape.capacity

    @property
    def points(self) -> frozenset[str]:
        """Morefs of the snapshots this disk is part of."""
        return frozenset(self._shape.points)

    def read(self, offset: int, length: int, point: str | None = None) -> bytes:
        """Bytes as they are now, or as they were at a snapshot. Any offset and length inside the disk."""
        self._inside(offset, length, 1)
        with self._lock:
            return bytes(self._gather(self._lineage(point), offset, length))

    def write(self, offset: int, data: bytes) -> None:
        """Write whole sectors to the top layer; partly written grains are completed from below first."""
        self._inside(offset, len(data), SECTOR)
        if not data:
            return
        with self._lock:
            lineage = self._lineage(None)
            start, body = self._whole_grains(lineage, offset, data)
            lineage[0].put(start, body)
            self._touch(start, start + len(body))

    def discard(self, offset: int, length: int) -> None:
        """Make whole sectors read as zeros and give their space back where whole grains are covered."""
        self._inside(offset, length, SECTOR)
        stop = offset + length
        first = min(-(-offset // GRAIN) * GRAIN, stop)
        last = stop if stop == self.capacity else max(stop // GRAIN * GRAIN, first)
        with self._lock:
            self.write(offset, bytes(first - offset))
            self.write(last, bytes(stop - last))
            if first < last:
                self._layers[self._shape.top].punch(first, last)
                self._touch(first, last)

    def freeze(self, point: str) -> None:
        """Take a snapshot: the top layer now belongs to `point`, and later writes go to a new layer."""
        with self._lock:
            if point in self._shape.points:
                raise InvalidState(f"{self._shape.stem}: already part of {point}")
            points = self._shape.points | {point: self._shape.top}
            self._push(self._shape.top, points)

    def forget(self, point: str) -> None:
        """Remove a snapshot's point; its layer stays until `consolidate`. May be repeated."""
        with self._lock:
            points = {name: number for name, number in self._shape.points.items() if name != point}
            self._reshape(replace(self._shape, points=points))

    def revert(self, point: str) -> None:
        """Go back to a snapshot: a new empty layer on top of its own; unreachable layers vanish."""
        with self._lock:
            self._push(self._at(point), self._shape.points)
            self._prune()

    def consolidate(
        self,
        stun: Callable[[], AbstractContextManager[None]] = nullcontext,
        switched: Callable[[], None] = lambda: None,
    ) -> None:
        """Merge every layer that no snapshot needs. Writes go on meanwhile.

        `stun` holds the guest for each switch; `switched` runs within it, before the folded file is deleted.
        """
        with self._lock:
            self._prune()
        while (pair := self._foldable()) is not None:
            parent, child = pair
            self._fold(parent, child)
            with stun():
                folded = self._switch(parent, child)
                switched()
            folded.delete()

    @property
    def needs_consolidation(self) -> bool:
        with self._lock:
            return self._foldable() is not None or bool(self._dead())

    def extend(self, capacity: int) -> None:
        """Grow a disk that has no snapshots; the new bytes are a hole."""
        with self._lock:
            if len(self._layers) > 1:
                raise InvalidState(f"{self._shape.stem}.vmdk: cannot be extended while it has snapshots")
            if capacity < self.capacity or capacity % SECTOR:
                raise InvalidState(
                    f"{self._shape.stem}.vmdk: cannot become {capacity} bytes, it has {self.capacity}"
                )
            self._layers[self._shape.top].grow(capacity)
            self._reshape(replace(self._shape, capacity=capacity))

    def allocated(self, point: str | None = None, unit: int = GRAIN) -> list[Area]:
        """Areas that some layer of the view allocates, widened to `unit` bytes; the rest reads as zeros."""
        with self._lock:
            ranges = union(*(layer.allocated() for layer in self._lineage(point)))
        wide = ((lo // unit * unit, min(-(-hi // unit) * unit, self.capacity)) for lo, hi in ranges)
        return [Area(lo, hi - lo) for lo, hi in merge(wide)]

    def files(self, point: str | None = None) -> list[Path]:
        """Absolute paths of a view's layers, topmost first."""
        with self._lock:
            return [layer.path.resolve() for layer in self._lineage(point)]

    def name(self, point: str | None = None) -> str:
        """The vmdk file name a view is known by."""
        with self._lock:
            return self._shape.nodes[str(self._at(point))].name

    def names(self, point: str | None = None) -> list[str]:
        """The vmdk file names of a view's layers, topmost first."""
        with self._lock:
            return [self._shape.nodes[str(number)].name for number in self._ancestors(self._at(point))]

    def parent(self, name: str) -> str | None:
        """The vmdk file name of the layer below the one of this name; None for a base. Raises NotFound."""
        with self._lock:
            below = self._shape.nodes[str(self._named(name))].parent
            return None if below is None else self._shape.nodes[str(below)].name

    def is_written(self, name: str) -> bool:
        """Whether writes go to the layer of this name now. Raises NotFound."""
        with self._lock:
            return self._named(name) == self._shape.top

    def file_of(self, name: str) -> Path:
        """The raw file of the layer of this name. Raises NotFound."""
        with self._lock:
            return self._layers[self._named(name)].path

    def stored(self, name: str) -> list[tuple[int, int]]:
        """Byte ranges (start, stop) that the layer of this name stores itself. Raises NotFound."""
        with self._lock:
            return list(self._layers[self._named(name)].stored())

    def read_layer(self, name: str, offset: int, length: int) -> bytes:
        """Bytes of one layer by itself, whatever is above or below it; holes read as zeros. Raises NotFound."""
        self._inside(offset, length, 1)
        with self._lock:
            return self._layers[self._named(name)].raw(offset, length)

    def used(self, *, thin: bool = True) -> int:
        """Bytes of storage behind all layers; the base of a thick disk counts in full."""
        with self._lock:
            bases = {number for number in self._layers if self._layers[number].map is None}
            thick = set() if thin else bases
            return sum(self.capacity if n in thick else layer.used() for n, layer in self._layers.items())

    def sizes(self, *, thin: bool = True) -> dict[str, int]:
        """Bytes of storage behind each layer, by the vmdk file name it is known by."""
        with self._lock:
            return {
                node.name: self.capacity if node.parent is None and not thin else self._layers[int(n)].used()
                for n, node in self._shape.nodes.items()
            }

    def close(self) -> None:
        with self._lock:
            for layer in self._layers.values():
                layer.close()
            self._layers = {}

    # --- reading and writing

    def _inside(self, offset: int, length: int, unit: int) -> None:
        if offset < 0 or length < 0 or offset + length > self.capacity or offset % unit or length % unit:
            raise ValueError(f"{self._shape.stem}.vmdk: {length} bytes at {offset} of {self.capacity}")

    def _gather(self, layers: list[Layer], offset: int, length: int) -> bytearray:
        out = bytearray(length)
        wanted = [(offset, offset + length)] if length else []
        for layer in layers:
            wanted = layer.fill(memoryview(out), offset, wanted)
        return out

    def _whole_grains(self, lineage: list[Layer], offset: int, data: bytes) -> tuple[int, bytes | bytearray]:
        stop = offset + len(data)
        start, end = offset // GRAIN * GRAIN, min(-(-stop // GRAIN) * GRAIN, self.capacity)
        if lineage[0].map is None or (start, end) == (offset, stop):
            return offset, data
        body = self._gather(lineage, start, offset - start)
        body += data
        body += self._gather(lineage, stop, end - stop)
        return start, body

    def _touch(self, start: int, stop: int) -> None:
        if self._touched is not None:
            self._touched.append((start, stop))

    # --- shape

    def _ids(self) -> list[int]:
        return [int(number) for number in self._shape.nodes]

    def _path(self, number: int) -> Path:
        return self.directory / f"{number}.raw"

    def _open(self, number: int) -> Layer:
        mapped = self._shape.nodes[str(number)].parent is not None
        return Layer(self._path(number), self._shape.capacity, mapped=mapped)

    def _remove_strays(self) -> None:
        known = {f"{number}.raw" for number in self._ids()}
        for path in self.directory.glob("*.raw*"):
            if path.name.removesuffix(".map") not in known:
                path.unlink()

    def _at(self, point: str | None) -> int:
        if point is None:
            return self._shape.top
        if point not in self._shape.points:
            raise NotFound(f"{self._shape.stem}.vmdk: has no snapshot {point}")
        return self._shape.points[point]

    def _named(self, name: str) -> int:
        number = next((n for n, node in self._shape.nodes.items() if node.name == name), None)
        if number is None:
            raise NotFound(f"{self._shape.stem}.vmdk: has no file {name}")
        return int(number)

    def _lineage(self, point: str | None) -> list[Layer]:
        return [self._layers[number] for number in self._ancestors(self._at(point))]

    def _ancestors(self, number: int | None) -> Iterator[int]:
        while number is not None:
            yield number
            number = self._shape.nodes[str(number)].parent

    def _reshape(self, shape: Shape) -> None:
        store.save(self.directory / "chain.json", shape)
        self._shape = shape

    def _push(self, parent: int, points: dict[str, int]) -> None:
        """A new top layer over `parent`: its file first, then the shape that mentions it."""
        shape, number = self._shape, self._shape.next
        nodes = shape.nodes | {str(number): Node(parent, self._free_name())}
        layer = Layer(self._path(number), shape.capacity, mapped=True)
        self._reshape(replace(shape, top=number, next=number + 1, nodes=nodes, points=points))
        self._layers[number] = layer

    def _free_name(self) -> str:
        used_names = {node.name for node in self._shape.nodes.values()}
        numbers = range(1, len(used_names) + 2)
        return next(name for n in numbers if (name := f"{self._shape.stem}-{n:06d}.vmdk") not in used_names)

    # --- folding

    def _children(self, number: int) -> list[int]:
        return [int(child) for child, node in self._shape.nodes.items() if node.parent == number]

    def _kept(self) -> set[int]:
        return {self._shape.top, *self._shape.points.values()}

    def _dead(self) -> list[int]:
        """Layers that no view contains."""
        alive = {number for root in self._kept() for number in self._ancestors(root)}
        return [number for number in self._ids() if number not in alive]

    def _prune(self) -> None:
        dead = self._dead()
        if dead:
            nodes = {n: node for n, node in self._shape.nodes.items() if int(n) not in dead}
            self._reshape(replace(self._shape, nodes=nodes))
        for number in dead:
            self._layers.pop(number).delete()

    def _foldable(self) -> tuple[int, int] | None:
        """A layer without a snapshot and its only child, oldest first."""
        with self._lock:
            dead = set(self._dead())
            for number in self._ids():
                children = [child for child in self._children(number) if child not in dead]
                if number not in self._kept() and len(children) == 1:
                    return number, children[0]
        return None

    def _fold(self, parent: int, child: int) -> None:
        """Copy the child's grains down, and record what is written meanwhile. May be repeated after a kill."""
        below, above = self._layers[parent], self._layers[child]
        with self._lock:
            self._touched = []
            ranges = list(above.present(0, self.capacity))
        for start, stop in _steps(ranges):
            with self._lock:
                _copy(above, below, start, stop)

    def _switch(self, parent: int, child: int) -> Layer:
        """Copy what was written meanwhile and let the parent take the child's place."""
        below, above = self._layers[parent], self._layers[child]
        with self._lock:
            for start, stop in union(self._touched or []):
                for lo, hi in list(above.present(start, stop)):
                    _copy(above, below, lo, hi)
            self._touched = None
            self._replace(child, parent)
            return self._layers.pop(child)

    def _replace(self, child: int, parent: int) -> None:
        def moved(number: int | None) -> int | None:
            return parent if number == child else number

        shape = self._shape
        nodes = {n: replace(node, parent=moved(node.parent)) for n, node in shape.nodes.items()}
        nodes[str(parent)] = shape.nodes[str(parent)]
        del nodes[str(child)]
        points = {point: parent if number == child else number for point, number in shape.points.items()}
        top = parent if shape.top == child else shape.top
        self._reshape(replace(shape, top=top, nodes=nodes, points=points))


def _steps(ranges: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    for start, stop in ranges:
        for at in range(start, stop, _STEP):
            yield at, min(at + _STEP, stop)


def _copy(above: Layer, below: Layer, start: int, stop: int) -> None:
    """Fold [start, stop): data as data, holes of the upper file (discarded grains) as holes."""
    at = start
    for lo, hi in above.stored(start, stop):
        if lo > at:
            below.punch(at, lo)
        data = bytearray(hi - lo)
        above.fill(memoryview(data), lo, [(lo, hi)])
        below.put(lo, data)
        at = hi
    if at < stop:
        below.punch(at, stop)
