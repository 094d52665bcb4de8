"""Inputs made from inputs, by a seeded generator: the same seed makes the same inputs in the same order."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Final

from tests.fuzz.targets import Target

LONGEST: Final = 1 << 18
_EDGES: Final = (0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 1 << 16, 1 << 20, 1 << 24, 1 << 31, (1 << 32) - 1, 1 << 63)
_TOKEN: Final = re.compile(rb"[A-Za-z0-9_.-]+|[^A-Za-z0-9_.-]")
_WORDS: Final = (
    b"{", b"}", b"[", b"]", b"&a ", b"*a", b"<<: *a", b"!!python/object:x ", b"---\n", b"null", b"~", b"-", b": ",
    b"\n  ", b"\n", b"\t", b"\"", b"'", b"|\n", b"? ", b"%TAG", b"#", b".inf", b"0x", b"1e999", b"9" * 400,
    b"9999999999999999999", b"0", b"true", b"1.5", b"\\ud800", b"4611686018427387903",
    b"\xff", b"\x00", b"\xf0\x9f\x92\xa5", b"\xed\xa0\x80", b"2030-13-45", b"{" * 60, b"[" * 3000,
)  # fmt: skip


@dataclass(slots=True)
class Failure(Exception):
    """An input that broke a rule of its target."""

    target: Target
    data: bytes
    why: str

    def __str__(self) -> str:
        return f"{self.target.name}: {self.why}"

    def keep(self) -> Path:
        """A seed from now on."""
        self.target.seeds.mkdir(parents=True, exist_ok=True)
        file = self.target.seeds / sha256(self.data).hexdigest()[:12]
        file.write_bytes(self.data)
        return file


def check(target: Target, data: bytes) -> str:
    """What the target noticed. Raises `Failure` for a crash, and for more memory than the input may cost, twice in turn:
    what is allocated once for all, by whomever, is not the input's doing.
    """
    seen, peak = _measured(target, data)
    if peak > target.limit(data):
        seen, peak = _measured(target, data)
    if peak > target.limit(data):
        raise Failure(target, data, f"{peak} bytes of memory for an input of {len(data)}")
    return seen


def _measured(target: Target, data: bytes) -> tuple[str, int]:
    tracemalloc.start()
    try:
        seen = target.run(data)
    except target.refusals as refused:
        said = str(getattr(refused, "what", refused))  # without its subject, which may be a new one each time
        seen = f"refused: {re.sub('[0-9]+', '#', said)[:80]}"
    except Exception as crash:
        raise Failure(target, data, f"{type(crash).__name__}: {crash}") from crash
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return seen, peak


@dataclass(slots=True)
class Hunt:
    """Endless tries on one target. What shows a reader's new side joins the pool for a while."""

    target: Target
    seed: int
    tried: int = 0
    known: set[str] = field(default_factory=set)
    _pool: list[bytes] = field(default_factory=list)

    def __iter__(self) -> Iterator[bytes]:
        random = Random(f"{self.target.name} {self.seed}")
        self._pool = self.target.inputs()
        originals = len(self._pool)
        while True:
            data = mutated(random, self._pool, self.target)
            seen = check(self.target, data)
            self.tried += 1
            if seen not in self.known and len(data) <= LONGEST // 4:
                self.known.add(seen)
                self._pool.append(data)
                if len(self._pool) > originals + 256:
                    del self._pool[originals + random.randrange(256)]
            yield data


def mutated(random: Random, pool: list[bytes], target: Target) -> bytes:
    """One of the pool, changed in one to six places; mostly with its checksums made right again."""
    data = random.choice(pool)
    for _ in range(random.choice((1, 1, 1, 2, 3, 6))):
        data = random.choice(_CHANGES)(random, data, pool)[:LONGEST]
    return target.mend(data, random) if random.random() < 0.8 else data


def _flip(random: Random, data: bytes, pool: list[bytes]) -> bytes:
    changed = bytearray(data or b"\0")
    changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _number(random: Random, data: bytes, pool: list[bytes]) -> bytes:
    size = random.choice((1, 2, 4, 8))
    value = (random.choice(_EDGES) + random.choice((-1, 0, 0, 1))) % (1 << 8 * size)
    at = _place(random, data)
    return data[:at] + value.to_bytes(size, "big") + data[at + size :]


def _cut(random: Random, data: bytes, pool: list[bytes]) -> bytes:
    return data[: _place(random, data)]


def _drop(random: Random, data: bytes, pool: list[bytes]) -> bytes:
    at = _place(random, data)
    return data[:at] + data[at + random.choice((1, 2, 8, 64)) :]


def _repeat(random: Random, data: bytes, pool: list[bytes]) -> bytes:
    start, end = sorted((_place(random, data), _place(random, data)))
    return data[:end] + data[start:end] * random.choice((1, 1, 2, 30)) + data[end:]


def _splice(random: Random, data: bytes, pool: list[bytes]) -> bytes:
    other = random.choice(pool)
    return data[: _place(random, data)] + other[_place(random, other) :]


def _noise(random: Random, data: bytes, pool: list[bytes]) -> bytes:
    at = _place(random, data)
    return data[:at] + random.randbytes(random.choice((1, 4, 40))) + data[at:]


def _word(random: Random, data: bytes, pool: list[bytes]) -> bytes:
    at = _place(random, data)
    return data[:at] + random.choice(_WORDS) + data[at:]


def _swap(random: Random, data: bytes, pool: list[bytes]) -> bytes:
    """Two words of a text change places."""
    words = _TOKEN.findall(data[: 1 << 14])
    if len(words) < 2:
        return data
    one, two = random.randrange(len(words)), random.randrange(len(words))
    words[one], words[two] = words[two], words[one]
    return b"".join(words) + data[1 << 14 :]


def _place(random: Random, data: bytes) -> int:
    """Anywhere; half of the time near the beginning, where headers are."""
    return random.randrange(min(len(data), 96) + 1 if random.random() < 0.5 else len(data) + 1)


_CHANGES: Final[tuple[Callable[[Random, bytes, list[bytes]], bytes], ...]] = (
    _flip, _flip, _number, _number, _cut, _drop, _repeat, _splice, _noise, _word, _swap,
)  # fmt: skip
