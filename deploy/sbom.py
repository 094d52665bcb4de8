"""The bill of materials of the package: every library that is shipped, with version, licence and the hash of its file.

CycloneDX 1.6, in JSON. Two builds of one state have the same bytes: its number follows from its contents, and its date is that of
the build.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cyclonedx.factory.license import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import License, LicenseExpression
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL

from deploy import licences, lock
from deploy.licences import Shipped

_VERSION: Final = SchemaVersion.V1_6


def document(root: Path, packages: Path, wheels: Path, version: str, epoch: int) -> str:
    """The document of the product in `root`. Its libraries were installed into `packages`, from the files in `wheels`."""
    locked = {pinned.name for pinned in lock.runtime(root)}
    shipped = sorted(licences.shipped(packages), key=lambda package: package.name.lower())
    components = [
        _component(package, _file(package, wheels)) for package in shipped if _key(package.name) in locked
    ]
    bom = Bom(components=components)
    bom.metadata.timestamp = datetime.fromtimestamp(epoch, UTC)
    bom.metadata.component = Component(
        name="agentless-connector",
        version=version,
        type=ComponentType.APPLICATION,
        bom_ref="agentless-connector",
        licenses=[LicenseFactory().make_from_string("Apache-2.0")],
    )
    bom.register_dependency(bom.metadata.component, components)
    facts = "\n".join(f"{package.name} {package.version}" for package in shipped)
    bom.serial_number = uuid.uuid5(uuid.NAMESPACE_URL, f"agentless-connector {version} {epoch}\n{facts}")
    return make_outputter(bom, OutputFormat.JSON, _VERSION).output_as_string(indent=1) + "\n"


def _component(package: Shipped, file: Path) -> Component:
    key = _key(package.name)
    return Component(
        name=package.name,
        version=package.version,
        type=ComponentType.LIBRARY,
        bom_ref=f"{key}@{package.version}",
        purl=PackageURL("pypi", name=key, version=package.version),
        licenses=[_licence(package.licence)],
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=hashlib.sha256(file.read_bytes()).hexdigest())],
    )


def _file(package: Shipped, wheels: Path) -> Path:
    """The file that the library was installed from, a wheel or a source archive."""
    start = f"{_key(package.name)}-{_key(package.version)}"
    return next(
        file for file in sorted(wheels.iterdir()) if re.match(rf"{re.escape(start)}(-|$)", _key(file.name))
    )


def _licence(text: str) -> License | LicenseExpression:
    """By its SPDX identifier where the metadata has one, else by the name that the authors wrote."""
    return LicenseFactory().make_from_string(text)


def _key(name: str) -> str:
    """A package's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()
