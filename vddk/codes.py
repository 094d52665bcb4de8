"""The table of VixError codes: name, family, likely cause, remedy, and whether another try can help. Data only.

The family is the name of the exception class in `vddk.errors` that carries the code.
"""

# ruff: noqa: E501  one code, one row: a table is read down its columns

from typing import Final, NamedTuple


class Code(NamedTuple):
    """One row. ``retryable``: the same call, repeated later or on a new connection, can succeed without a
    person.
    """

    number: int
    name: str
    family: str
    cause: str
    remedy: str
    retryable: bool = False


_SUPPORT = "look at the library's log lines before this error and at the vSphere events of the host"
_PATH = "list the snapshot's disks again and use the file names of the snapshot, not of the running machine"
_REOPEN = "open a new connection and go on where the reading stopped"
_BUG = "report it with the log: the calling order or arguments are wrong"
_CHAIN = "consolidate or repair the disk in vCenter, then take a new snapshot"
_KEY = "grant Cryptographer.Access and Cryptographer.Decrypt and use the transport nbdssl"
_HTTPS = "check port 443 from this machine to vCenter and the ESXi hosts, and any proxy between"
_FREE = "close other readers of this host or lower the number of disks read at once"

_ROWS: Final[tuple[tuple[int, str, str, str, str] | tuple[int, str, str, str, str, bool], ...]] = (
    (
        1, "FAIL", "UnexplainedFailure",
        "wrong thumbprint, or a disk in independent mode with VDDK 7 or newer; the library gives no reason",
        "compare the thumbprint with the server's certificate, check the disk mode, read the log lines above",
    ),
    (2, "OUT_OF_MEMORY", "OutOfResources", "the library or the host's NFC service has no memory left", _FREE, True),
    (3, "INVALID_ARG", "InvalidRequest", "a misaligned range, a range past the end, or a bad chunk size", _BUG),
    (4, "FILE_NOT_FOUND", "NotFound", "wrong datastore path, or the path changed with a snapshot", _PATH),
    (5, "OBJECT_IS_BUSY", "Busy", "another operation holds the object", "wait a moment and try again", True),
    (
        6, "NOT_SUPPORTED", "Unsupported", "this storage or disk cannot do it",
        "go without: for allocated blocks, read the whole disk",
    ),
    (7, "FILE_ERROR", "StorageFailure", "the host failed to read the disk file", _SUPPORT, True),
    (8, "DISK_FULL", "OutOfResources", "no space left on the datastore or in the temporary directory", "free space"),
    (9, "INCORRECT_FILE_TYPE", "InvalidRequest", "the file is not a virtual disk descriptor", _PATH),
    (10, "CANCELLED", "Busy", "the operation was cancelled on the server", "start the reading again", True),
    (11, "FILE_READ_ONLY", "AccessDenied", "the disk was opened for reading only", "open it for writing"),
    (12, "FILE_ALREADY_EXISTS", "InvalidRequest", "a file of this name is there already", "choose another name"),
    (
        13, "FILE_ACCESS_ERROR", "AccessDenied",
        "a missing privilege, a locked file, a snapshot that was not named, or (before 8.0.2) a network failure",
        "grant VirtualMachine.Provisioning.DiskRandomRead on the machine, name the snapshot, check port 902",
    ),
    (15, "FILE_ALREADY_LOCKED", "Busy", "another program has the disk open", "find the other backup job and wait", True),
    (16, "VMDB", "StorageFailure", "the library's internal database failed", _SUPPORT),
    (
        20, "NOT_SUPPORTED_ON_REMOTE_OBJECT", "Unsupported", "only local disks can do this",
        "do it through the vSphere API",
    ),
    (21, "FILE_TOO_BIG", "InvalidRequest", "the file is larger than the file system or disk type allows", "use another disk type"),
    (22, "FILE_NAME_INVALID", "InvalidRequest", "the path is not of the form [datastore] directory/name.vmdk", _PATH),
    (24, "BUFFER_TOOSMALL", "InvalidRequest", "the buffer is smaller than the answer", _BUG),
    (25, "OBJECT_NOT_FOUND", "NotFound", "no such managed object: a moref of another vCenter or a deleted one", "refresh the inventory"),
    (26, "HOST_NOT_CONNECTED", "HostUnavailable", "the ESXi host is not connected to vCenter", "reconnect the host in vCenter", True),
    (30, "NEED_KEY", "EncryptedDisk", "the disk is encrypted and no key was given", _KEY),
    (31, "OPERATION_ALREADY_IN_PROGRESS", "Busy", "the same operation is running already", "wait for it to end", True),
    (
        32, "LICENSE", "LicenseMissing", "a free or unlicensed ESXi refuses the storage API",
        "license the host or connect through a licensed vCenter",
    ),
    (34, "VM_HOST_DISCONNECTED", "HostUnavailable", "the machine's host left vCenter", "reconnect the host in vCenter", True),
    (
        35, "AUTHENTICATION_FAIL", "AuthenticationFailed", "wrong user, password or session cookie",
        "correct the credentials; do not repeat blindly, the account may be locked",
    ),
    (36, "HOST_CONNECTION_LOST", "NetworkFailure", "the connection to the host broke", _REOPEN, True),
    (44, "ARGUMENT_TOO_BIG", "InvalidRequest", "the request is larger than the host accepts", "read in pieces of 1 MiB"),
    (1000, "INVALID_HANDLE", "RuleBroken", "the handle is not one of the library, or closed", _BUG),
    (1001, "NOT_SUPPORTED_ON_HANDLE_TYPE", "RuleBroken", "the handle is of the wrong type", _BUG),
    (1002, "TOO_MANY_HANDLES", "OutOfResources", "the library has no handles left", _FREE, True),
    (3014, "HOST_USER_PERMISSIONS", "AccessDenied", "the user lacks a privilege on the host or machine", "grant the documented vCenter role"),
    (3046, "TOO_MANY_LOGONS", "OutOfResources", "the server's limit of sessions is reached", "log idle sessions out", True),
    (
        3047, "INVALID_AUTHENTICATION_SESSION", "SessionExpired", "the session cookie is unknown or expired",
        "log in to vCenter again and connect with the new cookie",
    ),
    (4000, "VM_NOT_FOUND", "NotFound", "no such virtual machine on this server", "refresh the inventory"),
    (13014, "SNAPSHOT_DISKLOCKED", "Busy", "a disk of the snapshot is locked", "wait for the running task", True),
    (13015, "SNAPSHOT_DUPLICATEDDISK", "SnapshotRefused", "one disk is attached twice", "detach the duplicate"),
    (13016, "SNAPSHOT_INDEPENDENTDISK", "SnapshotRefused", "a disk is in independent mode", "change the disk mode"),
    (13017, "SNAPSHOT_NONUNIQUE_NAME", "SnapshotRefused", "two snapshots share the name", "use the moref instead"),
    (13018, "SNAPSHOT_MEMORY_ON_INDEPENDENT_DISK", "SnapshotRefused", "memory snapshot with an independent disk", "snapshot without memory"),
    (13019, "SNAPSHOT_MAXSNAPSHOTS", "SnapshotRefused", "the limit of snapshots is reached", "remove old snapshots"),
    (14004, "HOST_DISK_SECTORSIZE", "Unsupported", "the disk's sector size is not supported", "use a newer VDDK"),
    (14006, "HOST_NETBLKDEV_HANDSHAKE", "NetworkFailure", "the NFC handshake with the host failed", "check port 902 and the host's load", True),
    (14007, "HOST_SOCKET_CREATION_ERROR", "NetworkFailure", "no socket could be made", "check file limits here", True),
    (
        14008, "HOST_SERVER_NOT_FOUND", "NameUnresolved", "the name of the ESXi host does not resolve here",
        "add the ESXi host's name, as vCenter knows it, to DNS or /etc/hosts",
    ),
    (
        14009, "HOST_NETWORK_CONN_REFUSED", "ConnectionRefused", "port 902 of the ESXi host is closed",
        "open TCP 902 from here to every ESXi host that may run the machine",
    ),
    (14010, "HOST_TCP_SOCKET_ERROR", "NetworkFailure", "a TCP error between here and the host", _REOPEN, True),
    (14011, "HOST_TCP_CONN_LOST", "NetworkFailure", "the TCP connection to the host was lost", _REOPEN, True),
    (
        14014, "HOST_SERVER_SHUTDOWN", "HostUnavailable", "the host is entering maintenance mode or shutting down",
        "wait until the machine has moved to another host, then reconnect", True,
    ),
    (
        14015, "HOST_SERVER_NOT_AVAILABLE", "HostUnavailable", "the host is in maintenance mode",
        "wait until the machine has moved or the host is back, then reconnect", True,
    ),
    (16000, "DISK_INVAL", "InvalidRequest", "the disk library refused a parameter", _BUG),
    (16001, "DISK_NOINIT", "RuleBroken", "the library is not initialised", _BUG),
    (16002, "DISK_NOIO", "StorageFailure", "a read or write failed", _SUPPORT, True),
    (16003, "DISK_PARTIALCHAIN", "BrokenChain", "a part of the snapshot chain is missing", _CHAIN),
    (16006, "DISK_NEEDSREPAIR", "BrokenChain", "the disk is marked for repair", _CHAIN),
    (16007, "DISK_OUTOFRANGE", "PastTheEnd", "the range lies past the end of the disk", "ask for the disk's size again"),
    (16008, "DISK_CID_MISMATCH", "BrokenChain", "a parent changed after its child was made", _CHAIN),
    (16010, "DISK_PARTMISMATCH", "BrokenChain", "the partition tables of the links differ", _CHAIN),
    (16011, "DISK_UNSUPPORTEDDISKVERSION", "Unsupported", "the disk's format is newer than the library", "use a newer VDDK"),
    (16012, "DISK_OPENPARENT", "BrokenChain", "the parent disk cannot be opened", _CHAIN),
    (16013, "DISK_NOTSUPPORTED", "Unsupported", "the disk type does not support it", "go without"),
    (16014, "DISK_NEEDKEY", "EncryptedDisk", "the machine is encrypted", _KEY),
    (16017, "DISK_NOKEY", "EncryptedDisk", "the key is not available", _KEY),
    (16027, "DISK_TOOMANYOPENFILES", "OutOfResources", "too many open files", "raise the limit of open files", True),
    (16028, "DISK_TOOMANYREDO", "BrokenChain", "the snapshot chain is too long", "remove old snapshots"),
    (16030, "DISK_INVALIDCHAIN", "BrokenChain", "the snapshot chain is broken", _CHAIN),
    (16052, "DISK_KEY_NOTFOUND", "NotFound", "no such metadata key", "list the keys first"),
    (16053, "DISK_SUBSYSTEM_INIT_FAIL", "UnexplainedFailure", "a part of the library did not start", "probe the installation"),
    (16054, "DISK_INVALID_CONNECTION", "RuleBroken", "the connection is closed or of the wrong kind", _BUG),
    (16061, "DISK_ENCODING", "InvalidRequest", "a text is not in the expected encoding", "check the names for odd characters"),
    (16062, "DISK_CANTREPAIR", "BrokenChain", "the disk cannot be repaired", "restore the disk from a backup"),
    (16063, "DISK_INVALIDDISK", "BrokenChain", "the disk's descriptor is not valid", _CHAIN),
    (16064, "DISK_NOLICENSE", "LicenseMissing", "the operation is not licensed", "license the host"),
    (16065, "DISK_NODEVICE", "NotFound", "the device behind the disk is missing", "check the storage of the host"),
    (16066, "DISK_UNSUPPORTEDDEVICE", "Unsupported", "the device type is not supported", "use the transport nbdssl"),
    (16067, "DISK_CAPACITY_MISMATCH", "BrokenChain", "links of the chain differ in size", _CHAIN),
    (16068, "DISK_PARENT_NOTALLOWED", "InvalidRequest", "a parent is not allowed here", _BUG),
    (16069, "DISK_ATTACH_ROOTLINK", "InvalidRequest", "a root link cannot be attached", _BUG),
    (18000, "CANNOT_CONNECT_TO_HOST", "ConnectionRefused", "the server cannot be reached", _HTTPS, True),
    (18001, "NOT_FOR_REMOTE_HOST", "Unsupported", "only local use is possible", "do it through the vSphere API"),
    (18002, "INVALID_HOSTNAME_SPECIFICATION", "NameUnresolved", "the server name is not valid", "correct the server name"),
    (25000, "ASYNC", "RuleBroken", "a call that is not asynchronous answered as if it were queued", _BUG),
    (26000, "ASYNC_MIXEDMODE_UNSUPPORTED", "RuleBroken", "plain and asynchronous reads were mixed on one handle", _BUG),
    (30006, "HTTP_COULDNT_RESOLVE_HOST", "NameUnresolved", "the server name does not resolve", "correct DNS or the server name"),
    (30007, "HTTP_COULDNT_CONNECT", "ConnectionRefused", "no HTTPS connection to the server", _HTTPS, True),
    (30028, "HTTP_OPERATION_TIMEDOUT", "NetworkFailure", "the server did not answer in time", _HTTPS, True),
    (30035, "HTTP_SSL_CONNECT_ERROR", "NetworkFailure", "the TLS handshake failed", "check TLS versions and any proxy", True),
    (30201, "HTTP_SSL_SECURITY", "UntrustedServer", "the server's certificate was not accepted", "compare the thumbprint with the certificate"),
)  # fmt: skip

CODES: Final[dict[int, Code]] = {row[0]: Code(*row) for row in _ROWS}

UNKNOWN: Final = Code(
    -1,
    "UNKNOWN",
    "UnknownVixError",
    "a code that is not in the table of known ones",
    _SUPPORT,
    retryable=False,
)


class Hint(NamedTuple):
    """A log line that says more than the code: when ``text`` is in a line of the failing call, the hint counts."""

    text: str
    family: str
    remedy: str
    retryable: bool


HINTS: Final[tuple[Hint, ...]] = (
    Hint(
        "Failed to verify SSL certificate", "UntrustedServer",
        "compare the stored thumbprint with the server's certificate and confirm the new one by hand", False,
    ),
    Hint("received NFC error 5", "OutOfResources", "use smaller or fewer reads: " + _FREE, True),
    Hint("license or ESXi version prohibits", "LicenseMissing", "license the host", False),
)  # fmt: skip
