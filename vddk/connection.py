"""One connection to one machine at one snapshot; our strings stay alive until the library has freed the block.

Order: AllocateConnectParams, PrepareForAccess, ConnectEx; back: Disconnect, EndAccess, FreeConnectParams.
"""

import ctypes
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from vddk import abi
from vddk.errors import LibraryMisbehaved, VixError
from vddk.loading import Library
from vddk.spec import ConnectionSpec, DiskSpec, UserPassword

LOGGER: Final = logging.getLogger("vddk")


class Parameters:
    """A ConnectParams block of the library, filled from a spec."""

    def __init__(self, library: Library, spec: ConnectionSpec) -> None:
        library.redact.add(*spec.secrets)
        self._library = library
        self.pointer = library.invoke("AllocateConnectParams")
        if not self.pointer:
            raise LibraryMisbehaved("AllocateConnectParams", "gave no memory")
        self._block: abi.ConnectParams = self.pointer.contents
        self._strings: list[bytes] = []
        self._fill(spec)

    def free(self) -> None:
        """Gives the block back without our strings in it, so that the library cannot free them."""
        block = self._block
        block.vmx_spec = block.server = block.thumbprint = None
        block.credentials = abi.Credentials()
        self._library.invoke("FreeConnectParams", self.pointer)
        self._strings.clear()

    @contextmanager
    def without_machine(self) -> Iterator[None]:
        """Removes the machine for a moment: Cleanup needs only the server."""
        vmx_spec, self._block.vmx_spec = self._block.vmx_spec, None
        try:
            yield
        finally:
            self._block.vmx_spec = vmx_spec

    def _fill(self, spec: ConnectionSpec) -> None:
        block = self._block
        block.vmx_spec = self._kept(spec.vm_moref if "=" in spec.vm_moref else f"moref={spec.vm_moref}")
        block.server = self._kept(spec.server)
        block.thumbprint = self._kept(spec.thumbprint)
        block.port, block.nfc_port = spec.port, spec.nfc_port
        block.spec_type = abi.SPEC_VM
        credentials = spec.credentials
        if isinstance(credentials, UserPassword):
            block.credential_type = abi.CREDENTIALS_USER
            block.credentials.user.user = self._kept(credentials.user)
            block.credentials.user.password = self._kept(credentials.password)
            return
        block.credential_type = abi.CREDENTIALS_SESSION
        block.credentials.session.cookie = self._kept(credentials.cookie)
        block.credentials.session.user = self._kept(credentials.user)
        block.credentials.session.key = self._kept(credentials.key)

    def _kept(self, text: str) -> bytes | None:
        if not text:
            return None
        self._strings.append(text.encode())
        return self._strings[-1]


class Connection:
    """An open connection. The caller holds `Library.lifecycle` around making and closing it."""

    def __init__(self, library: Library, disk: DiskSpec) -> None:
        self._library = library
        self._spec = spec = disk.connection
        identity = disk.identity.encode()
        self.handle = abi.Handle()
        with ExitStack() as stack:
            parameters = Parameters(library, spec)
            stack.callback(parameters.free)
            if library.guards and self._tried("PrepareForAccess", parameters.pointer, identity):
                stack.callback(self._tried, "EndAccess", parameters.pointer, identity)
            library.call(
                "ConnectEx", parameters.pointer, 1, _text(spec.snapshot_moref), spec.transports.encode(),
                ctypes.byref(self.handle), target=self.target,
            )  # fmt: skip
            stack.callback(self._tried, "Disconnect", self.handle)
            self._unwind = stack.pop_all()

    @property
    def target(self) -> str:
        return f"{self._spec.vm_moref} on {self._spec.server}"

    def close(self) -> None:
        self._unwind.close()

    def _tried(self, name: str, *arguments: Any) -> bool:
        """Calls a function that protects others. Its failure must not stop the reading or hide an error."""
        try:
            self._library.call(name, *arguments, target=self.target)
        except VixError as error:
            LOGGER.warning("%s", error)
            return False
        return True


def _text(value: str | None) -> bytes | None:
    return value.encode() if value else None


def release(library: Library, spec: DiskSpec) -> int:
    """Undoes what a killed reader of this disk left behind: the machine's lock against migration, HotAdd disks.

    Returns how many leftovers remain. The disk must not be open anywhere meanwhile.
    """
    with library.lifecycle, ExitStack() as stack:
        parameters = Parameters(library, spec.connection)
        stack.callback(parameters.free)
        target = f"{spec.connection.vm_moref} on {spec.connection.server}"
        remaining = _cleaned(library, parameters, target)
        if not library.guards:
            return remaining
        try:
            library.call("PrepareForAccess", parameters.pointer, spec.identity.encode(), target=target)
        except VixError as error:
            LOGGER.warning("%s", error)
        library.call("EndAccess", parameters.pointer, spec.identity.encode(), target=target)
        return remaining


def _cleaned(library: Library, parameters: Parameters, target: str) -> int:
    if not library.has("Cleanup"):
        return 0
    remaining = ctypes.c_uint32()
    with parameters.without_machine():
        library.call("Cleanup", parameters.pointer, None, ctypes.byref(remaining), target=target)
    return remaining.value
