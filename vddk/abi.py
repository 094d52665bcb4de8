"""The binary interface of libvixDiskLib on Linux x86-64, written once: constants, structures, one table of
functions.

Sizes and offsets are recorded in ``fixtures/abi_offsets.json`` and compared with what a C compiler lays out.
Nothing here opens a library; `vddk.loading` walks `FUNCTIONS` to do that.
"""

import ctypes as c
from typing import Any, Final, NamedTuple

SECTOR: Final = 512

VIX_OK: Final = 0
VIX_BUFFER_TOO_SMALL: Final = 24
VIX_ASYNC: Final = 25000
"""What ReadAsync and WriteAsync answer when the request is queued; any other answer means: no callback will
come.
"""

API_MAJOR: Final = 6
API_MINOR: Final = 5
"""Passed to InitEx. Libraries from 6.5 to 9.0 accept this pair; higher numbers buy nothing that a reader
needs.
"""

CREDENTIALS_USER: Final = 1
CREDENTIALS_SESSION: Final = 2
SPEC_VM: Final = 0

OPEN_READ_ONLY: Final = 4
COMPRESSION: Final[dict[str, int]] = {"none": 0, "zlib": 16, "fastlz": 32, "skipz": 64}

MIN_CHUNK: Final = 128
"""Smallest chunk of QueryAllocatedBlocks, in sectors (64 KiB)."""
MAX_CHUNKS: Final = 524288
"""Most chunks that one QueryAllocatedBlocks may cover."""

ADAPTERS: Final[dict[int, str]] = {1: "ide", 2: "buslogic", 3: "lsilogic", 256: "unknown"}
TRANSPORTS: Final = ("file", "san", "hotadd", "nbdssl", "nbd")

VixError = c.c_uint64
Sector = c.c_uint64
Handle = c.c_void_p
Text = c.c_char_p

LogFunction = c.CFUNCTYPE(None, c.c_char_p, c.c_void_p)
"""``void (const char *format, va_list)``: a va_list parameter is a pointer on x86-64 and can be consumed
once.
"""
Completion = c.CFUNCTYPE(None, c.c_void_p, VixError)
Progress = c.CFUNCTYPE(c.c_byte, c.c_void_p, c.c_int)


class UserCredentials(c.Structure):
    _fields_ = [("user", Text), ("password", Text)]


class SessionCredentials(c.Structure):
    _fields_ = [("cookie", Text), ("user", Text), ("key", Text)]


class Credentials(c.Union):
    _fields_ = [("user", UserCredentials), ("session", SessionCredentials)]


class StorageObject(c.Structure):
    _fields_ = [("id", Text), ("datastore", Text), ("secret", Text)]


class ConnectParams(c.Structure):
    """128 bytes since 6.7. Only ever allocated by the library: ``state`` is its own and must be initialised
    by it.
    """

    _fields_ = [
        ("vmx_spec", Text),
        ("server", Text),
        ("thumbprint", Text),
        ("private_use", c.c_long),
        ("credential_type", c.c_int),
        ("credentials", Credentials),
        ("port", c.c_uint32),
        ("nfc_port", c.c_uint32),
        ("api_version", Text),
        ("reserved", c.c_char * 8),
        ("state", c.c_void_p),
        ("storage_object", StorageObject),
        ("spec_type", c.c_int),
    ]


class Geometry(c.Structure):
    _fields_ = [("cylinders", c.c_uint32), ("heads", c.c_uint32), ("sectors", c.c_uint32)]


class InfoBefore7(c.Structure):
    """56 bytes, up to 6.7. Reading the two sector sizes of `Info` from such a block reads past the
    allocation.
    """

    _fields_ = [
        ("bios", Geometry),
        ("physical", Geometry),
        ("capacity", Sector),
        ("adapter", c.c_int),
        ("links", c.c_int),
        ("parent_hint", Text),
        ("uuid", Text),
    ]


class Info(c.Structure):
    """64 bytes, since 7.0."""

    _fields_ = [
        *InfoBefore7._fields_,
        ("logical_sector_size", c.c_uint32),
        ("physical_sector_size", c.c_uint32),
    ]


class Block(c.Structure):
    _fields_ = [("offset", Sector), ("length", Sector)]


class BlockList(c.Structure):
    """Header and first block; the true length is ``count``, which may be 0."""

    _fields_ = [("count", c.c_uint32), ("blocks", Block * 1)]


class CreateParams(c.Structure):
    _fields_ = [
        ("disk_type", c.c_int),
        ("adapter", c.c_int),
        ("hardware_version", c.c_uint16),
        ("capacity", Sector),
        ("logical_sector_size", c.c_uint32),
        ("physical_sector_size", c.c_uint32),
    ]


STRUCTURES: Final[dict[str, type[c.Structure]]] = {
    "ConnectParams": ConnectParams,
    "Geometry": Geometry,
    "InfoBefore7": InfoBefore7,
    "Info": Info,
    "Block": Block,
    "BlockList": BlockList,
    "CreateParams": CreateParams,
}


class Function(NamedTuple):
    """One exported function. ``required``: a reader cannot work without it, so its absence is an error at
    load time.
    """

    name: str
    result: Any
    arguments: tuple[Any, ...]
    since: str
    required: bool

    @property
    def symbol(self) -> str:
        return "VixDiskLib_" + self.name


OLDEST_SUPPORTED: Final = "6.7"
_Params = c.POINTER(ConnectParams)
_out = c.POINTER
_Log = c.c_void_p  # a LogFunction; typed as a plain pointer so that the same object can be passed thrice
_Bool = c.c_byte
_Length = c.c_size_t

REQUIRED: Final = True
OPTIONAL: Final = False

FUNCTIONS: Final[tuple[Function, ...]] = (
    Function("InitEx", VixError, (c.c_uint32, c.c_uint32, _Log, _Log, _Log, Text, Text), "6.0", REQUIRED),
    Function("Exit", None, (), "1.0", REQUIRED),
    Function("ListTransportModes", Text, (), "1.1", REQUIRED),
    Function("GetErrorText", c.c_void_p, (VixError, Text), "1.0", REQUIRED),
    Function("FreeErrorText", None, (c.c_void_p,), "1.0", REQUIRED),
    Function("AllocateConnectParams", _Params, (), "6.7", REQUIRED),
    Function("FreeConnectParams", None, (_Params,), "1.0", REQUIRED),
    # without these two nothing forbids vMotion while a disk is open: reading works, as nbdkit shows
    Function("PrepareForAccess", VixError, (_Params, Text), "1.0", OPTIONAL),
    Function("EndAccess", VixError, (_Params, Text), "1.0", OPTIONAL),
    Function("ConnectEx", VixError, (_Params, _Bool, Text, Text, _out(Handle)), "1.1", REQUIRED),
    Function("Disconnect", VixError, (Handle,), "1.0", REQUIRED),
    Function("Open", VixError, (Handle, Text, c.c_uint32, _out(Handle)), "1.0", REQUIRED),
    Function("Close", VixError, (Handle,), "1.0", REQUIRED),
    Function("GetInfo", VixError, (Handle, _out(c.c_void_p)), "1.0", REQUIRED),
    Function("FreeInfo", None, (c.c_void_p,), "1.0", REQUIRED),
    Function("GetTransportMode", Text, (Handle,), "1.1", REQUIRED),
    Function(
        "ReadAsync", VixError, (Handle, Sector, Sector, c.c_void_p, Completion, c.c_void_p), "6.0", REQUIRED
    ),
    Function("Wait", VixError, (Handle,), "6.5", REQUIRED),
    Function(
        "QueryAllocatedBlocks", VixError, (Handle, Sector, Sector, Sector, _out(c.c_void_p)), "6.7", REQUIRED
    ),
    Function("FreeBlockList", VixError, (c.c_void_p,), "6.7", REQUIRED),
    Function("Cleanup", VixError, (_Params, _out(c.c_uint32), _out(c.c_uint32)), "1.1", OPTIONAL),
    Function("Read", VixError, (Handle, Sector, Sector, c.c_void_p), "1.0", OPTIONAL),
    Function("Write", VixError, (Handle, Sector, Sector, c.c_void_p), "1.0", OPTIONAL),
    Function(
        "WriteAsync", VixError, (Handle, Sector, Sector, c.c_void_p, Completion, c.c_void_p), "6.0", OPTIONAL
    ),
    Function("Flush", VixError, (Handle,), "6.0", OPTIONAL),
    Function("GetMetadataKeys", VixError, (Handle, c.c_void_p, _Length, _out(_Length)), "1.0", OPTIONAL),
    Function("ReadMetadata", VixError, (Handle, Text, c.c_void_p, _Length, _out(_Length)), "1.0", OPTIONAL),
    Function("WriteMetadata", VixError, (Handle, Text, Text), "1.0", OPTIONAL),
    Function("CheckRepair", VixError, (Handle, Text, _Bool), "1.2", OPTIONAL),
    Function(
        "Create", VixError, (Handle, Text, c.POINTER(CreateParams), Progress, c.c_void_p), "1.0", OPTIONAL
    ),
)
