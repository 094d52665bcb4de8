"""``python -m vddk DIRECTORY`` prints what a VDDK installation offers, or one line that says why it cannot be used."""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

from vddk.errors import VddkError
from vddk.loading import Probe
from vddk.maker import maker_of
from vddk.worker import probe


def report(offered: Probe) -> Iterator[str]:
    """The lines to print."""
    maker = maker_of(Path(offered.path))
    yield f"library     {offered.path}"
    yield f"maker       {maker.name or 'the file names neither VMware nor Broadcom: ask whoever gave it to you'}"
    if maker.notice:
        yield f"notice      {maker.notice}"
    yield f"SHA-256     {maker.sha256}"
    yield f"version     {offered.version or 'unknown'}"
    yield f"transports  {' '.join(offered.transports) or 'none'}"
    yield f"functions   {len(offered.found)} found"
    for symbol in offered.missing:
        yield f"missing     {symbol} (optional)"
    for line in offered.warnings:
        yield f"warning     {line}"


def main(arguments: list[str]) -> int:
    """Exit status: 0 usable, 1 not usable, 2 wrong call."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        sys.stderr.write("usage: python -m vddk DIRECTORY\n")
        return 2
    logging.getLogger("vddk").addHandler(logging.NullHandler())
    try:
        lines = list(report(probe(Path(arguments[0]))))
    except VddkError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
