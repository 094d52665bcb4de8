"""Disks through VMware's library, each in a worker process of its own. Every failure of VDDK becomes an error of ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import vddk.errors
import vddk.worker
from connector import errors
from connector.errors import ConnectorError
from connector.model import DiskAccess
from connector.sources.disk_source import DiskSource, ErrorTable
from connector.sources.reader import DepthLimit, HostClosed, HostOverloaded, HostUnavailable, full_pace
from vddk.spec import ConnectionSpec, DiskSpec, Installation, SessionCookie, UserPassword
from vddk.worker import open_in_worker

SILENCE = 180.0  # seconds that one call into the library may take before its process is killed

MEANING: Final[Mapping[type[Exception], type[ConnectorError]]] = {
    vddk.errors.BadSetting: errors.BadInput,
    vddk.errors.AuthenticationFailed: errors.AuthenticationFailed,
    vddk.errors.SessionExpired: errors.SessionExpired,
    vddk.errors.AccessDenied: errors.NotPermitted,
    vddk.errors.UntrustedServer: errors.TrustFailed,
    vddk.errors.LicenseMissing: errors.Ineligible,
    vddk.errors.EncryptedDisk: errors.Ineligible,
    vddk.errors.Unsupported: errors.Ineligible,
    vddk.errors.OutOfResources: HostOverloaded,
    vddk.errors.HostUnavailable: HostUnavailable,
    vddk.errors.ConnectionRefused: HostClosed,
}
ERRORS: Final = ErrorTable(vddk.errors.VddkError, MEANING)
explain = ERRORS.explain


class VddkReader:
    """See `Reader`. Each disk is opened in a worker process of its own; only workers load the library."""

    name = "vddk"

    def __init__(
        self, installation: Path, transports: str = "nbdssl", silence: float | None = SILENCE
    ) -> None:
        self._installation, self._transports, self._silence = Installation(installation), transports, silence

    def check(self, vsphere: str) -> str:
        """The version of the library, if a process of its own can load it and it fits the vSphere version.

        Raises ReaderFailed or BadInput that names the missing library or symbol, or the versions that do not fit.
        """
        with ERRORS.translated(str(self._installation.directory)):
            library = vddk.worker.probe(self._installation.directory)
            vddk.errors.check_versions(library.version, vsphere)
        return library.version

    def open(self, access: DiskAccess, depth: int = 8, pace: DepthLimit = full_pace) -> DiskSource:
        """Open a disk. Raises ReaderFailed and the errors of `MEANING`."""
        with ERRORS.translated(access.path):
            spec = DiskSpec(_connection(access, self._transports), access.path)
            disk = open_in_worker(self._installation, spec, depth, self._silence)
            try:
                return DiskSource(disk, access.path, ERRORS, depth, pace)
            except BaseException:
                disk.close()
                raise

    def release(self, access: DiskAccess) -> int:
        """See `Reader.release`. Raises the errors of `MEANING`, and ReaderFailed for everything else."""
        with ERRORS.translated(access.path):
            spec = DiskSpec(_connection(access, self._transports), access.path)
            return vddk.worker.release_in_worker(self._installation, spec)


def _connection(access: DiskAccess, transports: str) -> ConnectionSpec:
    if access.secret_is_cookie:
        secret: SessionCookie | UserPassword = SessionCookie(access.secret, access.user)
    else:
        secret = UserPassword(access.user, access.secret)
    return ConnectionSpec(
        access.server,
        access.thumbprint,
        secret,
        access.vm,
        access.snapshot,
        access.port,
        transports=transports,
        identity=f"connector-{access.owner}" if access.owner else "connector",
    )
