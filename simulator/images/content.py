"""A directory tree like a small server's: logs that compress, media that does not, many small files, a few
large.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

EPOCH = 1_700_000_000  # every time stamp in made contents, so that a seed gives the same bytes
_WORDS = (
    "disk",
    "queue",
    "worker",
    "order",
    "customer",
    "invoice",
    "cache",
    "shard",
    "lease",
    "backup",
    "retry",
)
_MIX = (("var/log", 0.25), ("srv/media", 0.40), ("usr/lib/app", 0.25), ("home/user/notes", 0.10))
_CHUNK = 1 << 20


def write_tree(root: Path, size: int, seed: int, host: str) -> list[str]:
    """Fill `root` with about `size` bytes; the same for the same seed. Returns every path made, relative,
    with "/".
    """
    random = Random(seed)  # noqa: S311 - contents, not secrets
    for name, text in _system_files(host, random):
        _put(root / name, text.encode())
    for folder, share in _MIX:
        left = int(size * share)
        number = 0
        while left > 0:
            part = min(left, _file_size(random, folder))
            _put(root / folder / f"{number:05d}{_SUFFIX[folder]}", _MAKERS[folder](random, part))
            left, number = left - part, number + 1
    return _settle(root)


def _system_files(host: str, random: Random) -> Iterator[tuple[str, str]]:
    yield "etc/hostname", f"{host}\n"
    yield "etc/os-release", 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n'
    yield "etc/fstab", "LABEL=root / ext4 errors=remount-ro 0 1\n"
    yield (
        "boot/grub/grub.cfg",
        "set timeout=1\nmenuentry 'Debian' { linux /boot/vmlinuz root=LABEL=root ro }\n",
    )
    for number in range(150):
        lines = (
            f"{random.choice(_WORDS)}.{random.choice(_WORDS)} = {random.randrange(10**6)}" for _ in range(20)
        )
        yield f"etc/app.d/{number:03d}.conf", "\n".join(lines) + "\n"


def _log(random: Random, size: int) -> bytes:
    line = "2026-01-{:02d}T{:02d}:{:02d}:{:02d}Z {} [{}] {} {} took {} ms\n"
    page = "".join(
        line.format(
            *(random.randrange(1, n) for n in (28, 24, 60, 60)),
            random.choice(("INFO", "INFO", "WARN")),
            random.randrange(400, 4000),
            *random.choices(_WORDS, k=2),
            random.randrange(5000),
        )
        for _ in range(800)
    ).encode()
    return (page * (size // len(page) + 1))[:size]


def _media(random: Random, size: int) -> bytes:
    return random.randbytes(size)


def _program(random: Random, size: int) -> bytes:
    """Half machine code by its entropy, half tables of zeros and repeats."""
    block = b"".join(random.randbytes(2048) + bytes(1024) + random.randbytes(16) * 64 for _ in range(16))
    return (b"\x7fELF" + block * (size // len(block) + 1))[:size]


def _notes(random: Random, size: int) -> bytes:
    page = " ".join(random.choices(_WORDS, k=4000)).encode()
    return (page * (size // len(page) + 1))[:size]


_MAKERS = {"var/log": _log, "srv/media": _media, "usr/lib/app": _program, "home/user/notes": _notes}
_SUFFIX = {"var/log": ".log", "srv/media": ".bin", "usr/lib/app": ".so", "home/user/notes": ".txt"}


def _file_size(random: Random, folder: str) -> int:
    if folder == "home/user/notes":
        return random.randrange(500, 64 << 10)
    return random.choice((64 << 10, 300_001, _CHUNK, 2 * _CHUNK, 5 * _CHUNK, 8 * _CHUNK))


def _put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _settle(root: Path) -> list[str]:
    paths = sorted(root.rglob("*"), reverse=True)
    for path in [*paths, root]:
        path.chmod(0o755 if path.is_dir() else 0o644)
        os.utime(path, (EPOCH, EPOCH))
    return sorted(f"/{path.relative_to(root)}" for path in paths)
