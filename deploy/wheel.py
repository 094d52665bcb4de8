"""`python -m deploy.wheel`: the wheel of the product. Two builds of one state are the same bytes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import click

from deploy import dates, source

ROOT: Final = Path(__file__).parents[1]
_BUILD: Final = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"


def build(root: Path, target: Path, epoch: int) -> Path:
    """Build the wheel of the product in `root` into the directory `target`."""
    target = target.resolve()
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="wheel-") as folder:
        copied = Path(folder, "source")
        source.copy(root, copied, epoch)
        # The build runs in a process of its own: setuptools works in the current directory and with the umask of its process.
        done = subprocess.run(
            [sys.executable, "-c", _BUILD, str(target)],
            cwd=copied,
            env=build_environment(epoch),
            umask=0o022,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise click.ClickException(f"the wheel was not built:\n{done.stderr}")
    return target / done.stdout.splitlines()[-1]


def build_environment(epoch: int) -> dict[str, str]:
    """The variables of the build; what a person has set for Python does not count."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    fixed = {"SOURCE_DATE_EPOCH": str(epoch), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    return kept | fixed | {"LC_ALL": "C.UTF-8", "TZ": "UTC"}


@click.command()
@click.option("--to", "target", type=click.Path(path_type=Path), default=Path("artifacts"), show_default=True)
def main(target: Path) -> None:
    """Build the wheel into a directory, and print its path."""
    click.echo(build(ROOT, target, dates.epoch(ROOT)))


if __name__ == "__main__":
    main()
