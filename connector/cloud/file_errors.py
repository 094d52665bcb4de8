"""What the operating system refuses in a directory of the provider `local` is an error of the target, in one place."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from connector.errors import ConnectorError, TargetFailed, TargetFull


@contextmanager
def translated(place: Path) -> Iterator[None]:
    """Inside the block an OSError becomes a TargetFailed about `place`, or TargetFull when there is no space."""
    try:
        yield
    except ConnectorError:
        raise
    except OSError as error:
        kind = TargetFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else TargetFailed
        raise kind(
            f"cannot use this directory: {error.strerror}",
            on=str(place),
            remedy="check space and permissions",
        ) from error
