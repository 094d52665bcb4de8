"""`python -m deploy.image`: the appliance's image, as qcow2 and as OVA, with checksums and on request a signature.

Needs root, for mmdebstrap and chroot. The bytes of package and wheel are reproducible; the image's are not, because Debian's
packages change: beside it, `.packages` lists each with its version.
"""

from __future__ import annotations

import hashlib
import subprocess
import tarfile
import tempfile
import tomllib
from pathlib import Path
from typing import Final

import click
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from deploy import bootable, wheel
from deploy.image import descriptor, tree

CAPACITY: Final = 8 << 30
_PIECE: Final = 1 << 20


def build(root: Path, package: Path, target: Path, version: str) -> list[Path]:
    """Make the image of the directory `root`, which is changed, in the directory `target`. Returns its files."""
    tree.configure(root, package, version)
    target.mkdir(parents=True, exist_ok=True)
    name = f"connector-appliance-{version}"
    packages = target / f"{name}.packages"
    packages.write_text(_packages(root))
    with tempfile.TemporaryDirectory(prefix="image-", dir=target) as folder:
        disk = _disk(root, Path(folder))
        qcow2, vmdk = target / f"{name}.qcow2", Path(folder) / f"{name}-disk.vmdk"
        bootable.run("qemu-img", "convert", "-c", "-O", "qcow2", str(disk), str(qcow2))
        bootable.run(
            "qemu-img", "convert", "-O", "vmdk", "-o", "subformat=streamOptimized", str(disk), str(vmdk)
        )
        ovf = Path(folder) / f"{name}.ovf"
        ovf.write_bytes(descriptor.text(vmdk, CAPACITY, version))
        ova = _ova(target / f"{name}.ova", ovf, vmdk)
    return [qcow2, ova, packages]


def _disk(root: Path, folder: Path) -> Path:
    disk, system = folder / "disk.raw", folder / "system"
    modules = (
        "part_gpt",
        "ext2",
        "search",
        "search_fs_uuid",
        "normal",
        "serial",
        "configfile",
        "linux",
        "biosdisk",
    )
    loader = bootable.grub_image(root, "i386-pc", "(hd0,gpt3)/boot/grub", modules)
    bootable.partition(disk, CAPACITY)
    bootable.ext4(root, system, CAPACITY - bootable.OVERHEAD, tree.ROOT_ID)
    bootable.place(disk, system, bootable.ROOT)
    bootable.bios(disk, (root / "usr/lib/grub/i386-pc/boot.img").read_bytes(), loader)
    signed = {
        "BOOT/BOOTX64.EFI": root / "usr/lib/shim/shimx64.efi.signed",
        "BOOT/grubx64.efi": root / "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed",
    }
    bootable.efi(disk, signed, "debian", tree.ROOT_ID)  # Debian's signed GRUB looks there
    return disk


def _packages(root: Path) -> str:
    listed = [
        "chroot",
        str(root),
        "dpkg-query",
        "--show",
        "--showformat",
        "${Package} ${Version} ${Architecture}\\n",
    ]
    return subprocess.run(listed, check=True, capture_output=True, text=True).stdout


def _ova(target: Path, ovf: Path, vmdk: Path) -> Path:
    """A tar file in the order that importers stream it: descriptor, manifest, disk."""
    manifest = ovf.with_suffix(".mf")
    manifest.write_text("".join(f"SHA256({file.name})= {_digest(file)}\n" for file in (ovf, vmdk)))
    with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as archive:
        for file in (ovf, manifest, vmdk):
            archive.add(file, file.name, filter=_anonymous)
    return target


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    entry.mode = 0o644
    return entry


def checksums(files: list[Path], key: Path | None) -> list[Path]:
    """`SHA256SUMS` of the files, and with a key in PEM `SHA256SUMS.sig`, as `openssl dgst -sha256 -verify` checks it."""
    sums = files[0].parent / "SHA256SUMS"
    sums.write_text("".join(f"{_digest(file)}  {file.name}\n" for file in files))
    if key is None:
        return [sums]
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    if not isinstance(private, rsa.RSAPrivateKey):
        raise click.ClickException(f"{key}: this is no RSA key in PEM; openssl genrsa makes one")
    signature = sums.with_suffix(".sig")
    signature.write_bytes(private.sign(sums.read_bytes(), padding.PKCS1v15(), hashes.SHA256()))
    return [sums, signature]


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    with open(file, "rb") as content:
        while piece := content.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


@click.command()
@click.option(
    "--package",
    required=True,
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    help="Of `make deb`.",
)
@click.option("--to", "target", type=click.Path(path_type=Path), default=Path("artifacts"), show_default=True)
@click.option(
    "--key",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    help="RSA key in PEM that signs SHA256SUMS.",
)
def main(package: Path, target: Path, key: Path | None) -> None:
    """Build the appliance's image into a directory, and print its files."""
    version = tomllib.loads((wheel.ROOT / "pyproject.toml").read_text())["project"]["version"]
    with tempfile.TemporaryDirectory(prefix="debian-") as folder:
        root = Path(folder) / "root"
        tree.debian(root)
        files = build(root, package, target, version)
    for file in (*files, *checksums(files, key)):
        click.echo(file)


if __name__ == "__main__":
    main()
