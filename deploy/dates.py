"""The one date that a build has: that of the state that is built, never that of the day.

By https://reproducible-builds.org/specs/source-date-epoch/: what is given wins, then the last commit. A source without git has
no date of its own, so its version gives one: two builds of one version agree, and that is all that is promised.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

#: Zip files know no earlier year than 1980; the versions are counted from here, 2026-01-01.
BEGINNING: Final = 1767225600
_VERSION: Final = re.compile(r'^version = "(\d+)\.(\d+)\.(\d+)', re.MULTILINE)


def epoch(root: Path) -> int:
    """Seconds since 1970 for everything that is built of `root`."""
    fixed = os.environ.get("SOURCE_DATE_EPOCH", "")
    if fixed.isdigit():
        return int(fixed)
    return _of_commit(root) or _of_version(root)


def _of_commit(root: Path) -> int:
    """The date of the last commit; 0 if `root` is no working tree of git itself, whatever its parent is."""
    if shutil.which("git") is None or not (root / ".git").exists():
        return 0
    command = ["git", "-C", str(root), "log", "-1", "--format=%ct"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return int(done.stdout) if done.returncode == 0 and done.stdout.strip() else 0


def _of_version(root: Path) -> int:
    """One day for each patch release, a hundred for a minor one, ten thousand for a major one."""
    version = _VERSION.search((root / "pyproject.toml").read_text())
    major, minor, patch = (int(part) for part in version.groups()) if version else (0, 0, 0)
    return BEGINNING + 86400 * (10000 * major + 100 * minor + patch)
