"""`connector verify` checks offline that an image is still what the migration proved. It needs only a manifest and files.

Exit codes: 0 every byte is as proved; 10 bytes differ; 4 the manifest is damaged, or signed with another key; 3 a disk
has no image; 2 a file cannot be read.

What is checked is decided elsewhere: the manifest's shape and signatures in `connector/transfer/evidence.py`, the fields of a
disk's account in `connector/transfer/account.py`, the bytes of an image in `connector/transfer/verify.py`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from connector import amounts, readable
from connector.cli import kept_drill
from connector.cli.display import print_table
from connector.cli.options import JSON
from connector.cloud.machine_files import CONVERSION
from connector.errors import (
    BadInput,
    ConnectorError,
    EvidenceDamaged,
    NotFound,
    ProofFailed,
    TrustFailed,
    one_line,
)
from connector.model import Extent
from connector.specification import image_formats
from connector.transfer import evidence
from connector.transfer import extents as ranges
from connector.transfer.account import Account, NoAccount, from_json
from connector.transfer.evidence import Manifest
from connector.transfer.image import open_image
from connector.transfer.verify import VerificationResult, check

SHOWN: Final = 20  # how many differences of one disk are listed for people
ENDINGS: Final = frozenset({".img", *(f".{suffix}" for suffix in image_formats.SUFFIXES)})


@dataclass(frozen=True, slots=True)
class Checked:
    """One disk compared with its image."""

    key: str
    label: str
    path: Path
    form: str
    account: Account
    verdict: VerificationResult
    converted: tuple[Extent, ...] = ()  # where a conversion wrote, by the report beside the image

    @property
    def unexplained(self) -> list[Extent]:
        """The differences that are not a conversion's."""
        return ranges.subtract(self.verdict.differences, self.converted)

    @property
    def is_sound(self) -> bool:
        return self.verdict.equal or (
            bool(self.verdict.differences) and not self.unexplained and not self.verdict.table_damaged
        )

    def to_json(self) -> dict[str, Any]:
        verdict = self.verdict
        return {
            "disk": self.key,
            "label": self.label,
            "image": str(self.path),
            "format": self.form,
            "capacity": self.account.capacity,
            "equal": verdict.equal,
            "converted_bytes": ranges.covered(verdict.differences) - ranges.covered(self.unexplained),
            "root": verdict.root,
            "differences": [
                {"start": e.start, "length": e.length, "reasons": self._reasons(e)}
                for e in verdict.differences
            ],
            "exact": verdict.exact,
            "table_damaged": ranges.to_json(verdict.table_damaged),
        }

    def _reasons(self, extent: Extent) -> list[str]:
        return [str(reason) for reason in self.account.reasons(extent)]

    def lines(self) -> Iterator[str]:
        """The differences, for people."""
        if changed := ranges.covered(self.verdict.differences) - ranges.covered(self.unexplained):
            yield f"{self.path}: is as it was copied, except for {changed} bytes where its conversion wrote ({CONVERSION})"
        for extent in self.unexplained[:SHOWN]:
            words = ", ".join(self._reasons(extent)) or "beyond the disk"
            yield f"{self.path}: differs in [{extent.start}, {extent.end}) ({words})"
        if (more := len(self.unexplained) - SHOWN) > 0:
            yield f"{self.path}: and in {more} more ranges (--json lists them)"
        for extent in self.verdict.table_damaged[:SHOWN]:
            yield f"{_table(self.path, self.key)}: is damaged for [{extent.start}, {extent.end})"


@click.command()
@click.argument("manifest", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("images", nargs=-1, metavar="[IMAGE]...")
@click.option(
    "--key",
    metavar="FILE|SHA256:..",
    help="The public key that must have signed it: a PEM file, or its fingerprint. Without it only damage is found.",
)
@JSON
def verify(manifest: Path, images: tuple[str, ...], key: str | None, as_json: bool) -> None:
    """Check images against the MANIFEST of the pass that made them; needs no network.

    IMAGE is a file, named after the disk's device key or given as KEY=FILE, or a directory of such files. Default: the
    manifest's own directory. Raw images are read directly, qcow2, vmdk, vhd and vhdx through qemu-img.

    \b
    connector verify images/web-01/evidence.json
    connector verify evidence.json 2000=/mnt/web-01.qcow2 --key evidence-key.pub

    \b
    A converted image may differ where its conversion.json says that the conversion wrote; that file is not signed.

    \b
    Exit codes: 0 every byte is as proved; 10 bytes differ; 4 the manifest is damaged, or signed with
    another key; 3 a disk has no image; 2 a file cannot be read.
    """
    evidence_manifest = read_manifest(manifest)
    checked_key = None if key is None else require_key(evidence_manifest, key, manifest)
    files = choose(evidence_manifest.disks, images or (str(manifest.parent),))
    checked = [_check(evidence_manifest, name, path) for name, path in sorted(files.items())]
    failed = _failure(checked)
    drill = kept_drill.read(manifest.parent)
    tell(evidence_manifest, checked, checked_key is not None, failed, as_json, drill)
    if failed is not None and as_json:
        with suppress(OSError):  # stderr may be closed
            click.echo(f"connector: {failed}", err=True)  # what was printed has the error
        raise click.exceptions.Exit(failed.exit_code)
    if failed is not None:
        raise failed


def _failure(checked: Sequence[Checked]) -> ProofFailed | None:
    """What differs; None if every disk is sound."""
    differing = [disk for disk in checked if not disk.is_sound]
    if not differing:
        return None
    total = sum(ranges.covered(disk.unexplained) for disk in differing)
    return ProofFailed(
        f"{total} bytes are not what was proved" if total else "a digest table is damaged",
        on=", ".join(str(disk.path) for disk in differing),
        remedy="copy the image again from where it is intact, or run another pass",
    )


def read_manifest(path: Path) -> Manifest:
    """Read and check the manifest. Raises BadInput, EvidenceDamaged."""
    try:
        with open(readable.opened(path), "rb") as file:
            return evidence.read(file.read(evidence.LIMIT + 1))
    except OSError as error:
        raise BadInput(f"cannot be read ({error.strerror})", on=str(path)) from None
    except ConnectorError as error:
        error.on = error.on or str(path)
        raise


def require_key(manifest: Manifest, key: str, path: Path) -> bytes:
    """Raise TrustFailed if another key has signed the manifest, BadInput if `key` is no key."""
    signed_by = evidence.fingerprint(manifest.key)
    if not key.startswith("SHA256:"):
        try:
            key = evidence.fingerprint(evidence.from_pem(readable.content(Path(key))))
        except (OSError, ValueError) as error:
            raise BadInput(f"is no public key: {error}", on=key) from None
    if key != signed_by:
        raise TrustFailed(
            f"is signed with the key {signed_by}, not with {key}", on=str(path), remedy="ask who signed it"
        )
    return manifest.key


def choose(disks: Mapping[str, Any], images: Sequence[str]) -> dict[str, Path]:
    """The file of each disk; one that is named goes before those of a directory.

    Raises NotFound if a directory has not all that is not named (whoever names files alone may leave disks out), and BadInput
    when a word names no disk or when a disk has several files.
    """
    named: defaultdict[str, set[Path]] = defaultdict(set)
    beside: defaultdict[str, set[Path]] = defaultdict(set)
    for word in images:
        key, separator, name = word.partition("=")
        if separator and key in disks:
            named[key].add(Path(name))
        elif Path(word).is_dir():
            for path in _in_directory(disks, Path(word)):
                beside[path.stem].add(path)
        elif Path(word).stem in disks:
            named[Path(word).stem].add(Path(word))
        elif len(disks) == len(images) == 1:
            named[next(iter(disks))].add(Path(word))
        else:
            keys = ", ".join(sorted(disks))
            raise BadInput("which disk is it?", on=word, remedy=f"say KEY={word}; the manifest has {keys}")
    files = {key: _only(key, paths) for key, paths in {**beside, **named}.items()}
    lacking = sorted(set(disks) - set(files))
    if lacking and any(Path(word).is_dir() for word in images):
        raise NotFound(f"no image of disk {', '.join(lacking)}", on=", ".join(images), remedy="say KEY=FILE")
    return files


def _in_directory(disks: Mapping[str, Any], directory: Path) -> list[Path]:
    return [path for path in sorted(directory.iterdir()) if path.stem in disks and path.suffix in ENDINGS]


def _only(key: str, paths: set[Path]) -> Path:
    first, *more = sorted(paths)
    if more:
        names = ", ".join(str(path) for path in sorted(paths))
        raise BadInput(f"disk {key} has several images", on=names, remedy=f"say which one: {key}=FILE")
    return first


def _check(manifest: Manifest, key: str, path: Path) -> Checked:
    body = manifest.disks[key]
    try:
        account = from_json(body)
    except NoAccount as error:
        raise EvidenceDamaged(f"disk {key}: {error}", on="the manifest") from None
    table = _table(path, key)
    with closing(open_image(path)) as image:
        verdict = check(account, image, table if table.exists() else None)
        return Checked(key, str(body.get("label", "")), path, image.form, account, verdict, _converted(path))


def _table(path: Path, key: str) -> Path:
    """The digests beside the image; those of a converted copy are beside the image that it was made of."""
    beside = path.with_name(f"{key}.digests")
    above = path.parent.parent / beside.name
    return above if not beside.exists() and path.with_name(CONVERSION).exists() else beside


def _converted(path: Path) -> tuple[Extent, ...]:
    """Where a conversion wrote, by the report beside a converted copy."""
    report = path.with_name(CONVERSION)
    if not report.exists():
        return ()
    try:
        document = json.loads(readable.text(report))
        rows = [row["extents"] for row in document["disks"] if row["file"] == path.name]
        return tuple(ranges.from_json(rows[0])) if rows else ()
    except (OSError, ValueError, KeyError, TypeError, BadInput) as error:
        raise BadInput(f"is no report of a conversion ({error})", on=str(report)) from None


def tell(
    manifest: Manifest,
    checked: Sequence[Checked],
    key_checked: bool,
    failed: ConnectorError | None,
    as_json: bool,
    drill: Mapping[str, Any] | None = None,
) -> None:
    """Print the whole result. For programs it is one object, with the error in it."""
    machine, pass_section = manifest.sections["machine"], manifest.sections["pass"]
    not_checked = sorted(set(manifest.disks) - {disk.key for disk in checked})
    fingerprint = evidence.fingerprint(manifest.key)
    if as_json:
        record = {
            "event": "verified",
            "equal": all(disk.verdict.equal for disk in checked),
            "sound": all(disk.is_sound for disk in checked),
            "signed_by": fingerprint,
            "key_checked": key_checked,
            "machine": machine,
            "pass": pass_section,
            "disks": [disk.to_json() for disk in checked],
            "unchecked": not_checked,
            "drill": drill,
        }
        click.echo(json.dumps(record | (failed.to_json() if failed else {})))
        return
    console = Console(width=None if Console().is_terminal else 200)
    about = f"{machine.get('name')} ({machine.get('moref')}), snapshot of {_created(pass_section)}, signed by {fingerprint}"
    note = "" if key_checked else " (not compared with a key of yours: say --key)"
    console.print(Text(one_line(about + note)))
    print_table(_rows(checked), console, lead=("disk", "image"))
    for disk in checked:
        for line in disk.lines():
            console.print(Text(one_line(line)))
    for key in not_checked:
        console.print(Text(one_line(f"disk {key} was not checked")))
    for line in kept_drill.lines(drill) if drill is not None else ():
        console.print(Text(one_line(line)))


def _created(pass_section: Mapping[str, Any]) -> str:
    snapshot = pass_section.get("snapshot")
    return str(snapshot.get("created")) if isinstance(snapshot, dict) else "?"


def _rows(checked: Sequence[Checked]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("disk", "image", "format", "capacity", "result", "root"):
        table.add_column(title, no_wrap=True)
    for disk in checked:
        result = "as proved" if disk.verdict.equal else "converted" if disk.is_sound else "DIFFERS"
        size = amounts.size(disk.account.capacity)
        table.add_row(
            Text(one_line(disk.key)),
            Text(one_line(str(disk.path))),
            disk.form,
            size,
            result,
            disk.verdict.root[:16],
        )
    return table
