"""`python -m deploy.deb`: the Debian package. It lays out a directory; `dpkg-deb` makes the package of it.

Two builds of one state are the same bytes: every file gets one date, one of two modes and the owner root, whoever builds.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import tomllib
from pathlib import Path
from typing import Final

import click

from deploy import dates, environment, licences, sbom, source, wheel

ROOT: Final = wheel.ROOT
_PARTS: Final = Path(__file__).parent
_UNITS: Final = "usr/lib/systemd/system"
_DOCUMENTS: Final = "usr/share/doc/connector"
_UNIT_FILES: Final = (".service", ".timer")
_SCRIPTS: Final = ("postinst", "prerm", "postrm")


def build(root: Path, target: Path, wheels: Path, epoch: int) -> Path:
    """Build the package of the product in `root` into the directory `target`, from the downloads in `wheels`."""
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="deb-") as folder:
        tree = Path(folder, "tree")
        tree.mkdir()
        product = wheel.build(root, Path(folder), epoch)
        environment.make(tree, root, wheels, product, epoch)
        lay_out(tree, root)
        bill_of_materials(tree, root, wheels, epoch)
        source.settle(tree, epoch)
        control(tree, root)
        source.settle(tree, epoch)
        return _packed(tree, target, epoch)


def lay_out(tree: Path, root: Path) -> None:
    """Everything besides the environment: launcher, units, users, directories, documents."""
    _place(_PARTS / "debian" / "launcher", tree / "usr/bin/connector", executable=True)
    for unit in sorted(path for path in (_PARTS / "systemd").iterdir() if path.suffix in _UNIT_FILES):
        _place(unit, tree / _UNITS / unit.name)
    _place(_PARTS / "systemd" / "connector.sysusers", tree / "usr/lib/sysusers.d/connector.conf")
    _place(_PARTS / "systemd" / "connector.tmpfiles", tree / "usr/lib/tmpfiles.d/connector.conf")
    (tree / "etc/connector").mkdir(parents=True)
    examples = root / "config"
    for file in sorted(path for path in examples.rglob("*") if path.is_file()):
        _place(file, tree / _DOCUMENTS / "examples" / file.relative_to(examples))
    for file in sorted(root.glob("docs/*.md")):
        _place(file, tree / _DOCUMENTS / file.name)
    _place(root / "CHANGELOG.md", tree / _DOCUMENTS / "CHANGELOG.md")
    packages = next((tree / environment.HOME).glob("lib/*/site-packages"))
    text = licences.copyright_file(packages, f"/{packages.relative_to(tree)}")
    (tree / _DOCUMENTS / "copyright").write_text(text)


def bill_of_materials(tree: Path, root: Path, wheels: Path, epoch: int) -> None:
    """What is shipped, for whoever looks for known weaknesses in it."""
    packages = next((tree / environment.HOME).glob("lib/*/site-packages"))
    text = sbom.document(root, packages, wheels, _project(root)["version"], epoch)
    (tree / _DOCUMENTS / "connector.cdx.json").write_text(text)


def control(tree: Path, root: Path) -> None:
    """What dpkg reads: the fields, the scripts, and the digests for `dpkg --verify`."""
    files = [file for file in sorted(tree.rglob("*")) if file.is_file() and not file.is_symlink()]
    place = tree / "DEBIAN"
    place.mkdir()
    project = _project(root)
    fields = (_PARTS / "debian" / "control").read_text()
    size = sum(-(-file.stat().st_size // 1024) for file in files)
    (place / "control").write_text(
        fields.format(
            version=project["version"],
            summary=project["description"],
            size=size,
            architecture=_architecture(),
        )
    )
    digests = (f"{_md5(file)}  {file.relative_to(tree)}\n" for file in files)
    (place / "md5sums").write_text("".join(digests))
    for name in _SCRIPTS:
        _place(_PARTS / "debian" / name, place / name, executable=True)


def _project(root: Path) -> dict[str, str]:
    """What the product says about itself."""
    facts: dict[str, str] = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    return facts


def _place(file: Path, target: Path, *, executable: bool = False) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, target)
    target.chmod(0o755 if executable else 0o644)


def _md5(file: Path) -> str:
    """The digest that dpkg compares; it finds damage, it proves nothing."""
    return hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()


def _architecture() -> str:
    return subprocess.run(
        ["dpkg", "--print-architecture"], capture_output=True, text=True, check=True
    ).stdout.strip()


def _packed(tree: Path, target: Path, epoch: int) -> Path:
    # One thread: what several make depends on how many the builder's memory allows.
    # xz would take minutes more, for a tenth of the size.
    packing = ("--root-owner-group", "-Zzstd", "-z10", "--threads-max=1")
    command = ["dpkg-deb", *packing, "--build", str(tree), str(target)]
    variables = os.environ | {"SOURCE_DATE_EPOCH": str(epoch), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, env=variables, umask=0o022, capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.ClickException(f"dpkg-deb failed:\n{done.stderr}")
    return target / done.stdout.rpartition("in '")[2].strip().rstrip("'.").rpartition("/")[2]


@click.command()
@click.option("--to", "target", type=click.Path(path_type=Path), default=Path("artifacts"), show_default=True)
@click.option(
    "--wheels",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory with the downloads. One that does not exist is made and filled. Default: downloaded for this build.",
)
def main(target: Path, wheels: Path | None) -> None:
    """Build the Debian package into a directory, and print its path."""
    if shutil.which("dpkg-deb") is None:
        raise click.ClickException("needs dpkg-deb (Debian: dpkg)")
    epoch = dates.epoch(ROOT)
    with tempfile.TemporaryDirectory(prefix="wheels-") as folder:
        place = wheels or Path(folder)
        if wheels is None or not wheels.exists():
            environment.download(ROOT, place)
        click.echo(build(ROOT, target, place, epoch))


if __name__ == "__main__":
    main()
