"""Writes an estate export and reads it back the slow way: what the library under test is compared with."""

from dataclasses import dataclass, field
from pathlib import Path

GRAIN = 4096
PATH = "[ds one] web/web.vmdk"
THUMBPRINT = ":".join(["AB"] * 20)


@dataclass
class Layer:
    """`grains` None: a base without a map. `data` maps grain numbers to their bytes."""

    path: Path
    capacity: int
    data: dict[int, bytes] = field(default_factory=dict)
    mapped: bool = True

    def write(self) -> None:
        with self.path.open("wb") as file:
            file.truncate(self.capacity)
            for grain, content in self.data.items():
                file.seek(grain * GRAIN)
                file.write(content[: self.capacity - grain * GRAIN])
        if self.mapped:
            bits = bytearray(-(-self.capacity // GRAIN // 8) + 1)
            for grain in self.data:
                bits[grain // 8] |= 1 << grain % 8
            Path(f"{self.path}.map").write_bytes(bits)


@dataclass
class Estate:
    root: Path

    def __post_init__(self) -> None:
        (self.root / "sessions").mkdir(parents=True)
        pairs = "user=svc\npassword=secret\nuser=other\npassword=word\n"
        (self.root / "access").write_text(f"thumbprint={THUMBPRINT}\n{pairs}")
        (self.root / "sessions" / "52aa-live").touch()

    def view(self, layers: list[Layer], *, view: str = "snapshot-7", mode: str = "persistent") -> None:
        """Publishes the layers, topmost first, as the one disk of vm-16."""
        for layer in layers:
            layer.write()
        names = "\t".join(str(layer.path) for layer in layers)
        folder = self.root / "vm-16" / view
        folder.mkdir(parents=True, exist_ok=True)
        line = f"{PATH}\t{layers[0].capacity}\tlsilogic\t60 00 C2 9e\t{mode}\t{names}\n"
        scratch = folder / "disks.new"
        scratch.write_text(f"[ds one] web/web_1.vmdk\t512\tnvme\tu\tpersistent\t/nowhere\n{line}")
        scratch.rename(folder / "disks")

    def layer(self, name: str, capacity: int, *, mapped: bool = True, **grains: bytes) -> Layer:
        return Layer(
            self.root / name, capacity, {int(key[1:]): value for key, value in grains.items()}, mapped
        )


def reference(layers: list[Layer]) -> bytes:
    """The whole disk, grain by grain."""
    capacity = layers[0].capacity
    grains = []
    for grain in range(-(-capacity // GRAIN)):
        owner = next((layer for layer in layers if grain in layer.data), None)
        grains.append(owner.data[grain] if owner else bytes(GRAIN))
    return b"".join(grains)[:capacity]
