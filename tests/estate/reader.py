"""A second reader of the export directory, written from its layout alone: shares no code with the
simulator.
"""

from dataclasses import dataclass
from pathlib import Path

GRAIN = 4096


@dataclass(frozen=True)
class ViewDisk:
    path: str
    capacity: int
    adapter: str
    uuid: str
    mode: str
    layers: list[Path]

    def read(self) -> bytes:
        out = bytearray(self.capacity)
        for layer in reversed(self.layers):
            data = layer.read_bytes()
            assert len(data) == self.capacity
            bits = layer.with_name(layer.name + ".map")
            if not bits.exists():
                out[:] = data
                continue
            table = bits.read_bytes()
            for grain in range(-(-self.capacity // GRAIN)):
                if table[grain // 8] >> grain % 8 & 1:
                    at = grain * GRAIN
                    out[at : at + GRAIN] = data[at : at + GRAIN]
        return bytes(out)


def view(export: Path, vm: str, name: str) -> list[ViewDisk]:
    lines = (export / vm / name / "disks").read_text().splitlines()
    fields = [line.split("\t") for line in lines]
    return [ViewDisk(f[0], int(f[1]), *f[2:5], [Path(p) for p in f[5:]]) for f in fields]


def views(export: Path, vm: str) -> set[str]:
    return {path.name for path in (export / vm).iterdir()}
