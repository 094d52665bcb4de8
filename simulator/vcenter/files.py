"""DatastoreBrowser and DiagnosticManager: files on datastores, and logs of vCenter and its hosts. Nothing is changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

from simulator.vcenter import machine_config
from simulator.vcenter.api import make, vim, vmodl
from simulator.vcenter.kinds import Call, Center, Kind, Target

PREFIX = "datastoreBrowser-"
_B = vim.host.DatastoreBrowser
_SMALL = 4096  # bytes of a file that only describes others
_WRITTEN = datetime(2026, 1, 1, tzinfo=UTC)
_LOGS = {
    "vpxd": "/var/log/vmware/vpxd/vpxd.log",
    "vpxd-profiler": "/var/log/vmware/vpxd/vpxd-profiler.log",
    "sso": "/var/log/vmware/sso/vmware-identity-sts.log",
}
_HOST_LOGS = {"hostd": "/var/log/hostd.log", "vmkernel": "/var/log/vmkernel.log", "vpxa": "/var/log/vpxa.log"}


def browser(center: Center, moref: str) -> Target | None:
    """The browser of a datastore or of a host's datastores, by its moref."""
    owner = moref.removeprefix(PREFIX)
    inventory = center.estate.inventory
    known = owner in inventory.datastores or owner in inventory.hosts
    return Target(BROWSER, moref, owner) if moref.startswith(PREFIX) and known else None


def _stores(center: Center, owner: str) -> list[str]:
    inventory = center.estate.inventory
    return [owner] if owner in inventory.datastores else list(inventory.hosts[owner].datastores)


def _files(center: Center, store: str) -> dict[str, int]:
    """Bytes of every file on a datastore, by its path within it."""
    inventory, name = center.estate.inventory, f"[{center.estate.inventory.datastores[store].name}] "
    sizes: dict[str, int] = {}
    for vm in inventory.vms.values():
        paths = center.file_sizes(vm)
        vmx = machine_config.vmx_path(vm, inventory)
        paths |= {
            vmx: _SMALL,
            vmx.removesuffix("x") + "sd": _SMALL,
            vmx.removesuffix(".vmx") + ".nvram": 8 * _SMALL,
        }
        paths |= {vmx.rpartition("/")[0] + "/vmware.log": 16 * _SMALL}
        sizes |= {path.removeprefix(name): size for path, size in paths.items() if path.startswith(name)}
    return sizes


def _asked(call: Call) -> tuple[str, str]:
    """The datastore and the folder within it that a path such as "[store] web-01" names. Raises InvalidDatastore."""
    name, _, folder = call["datastorePath"].removeprefix("[").partition("]")
    stores = call.center.estate.inventory.datastores
    store_moref = next(
        (moref for moref in _stores(call.center, call.target.subject) if stores[moref].name == name), None
    )
    if store_moref is None:
        raise vim.fault.InvalidDatastorePath(datastorePath=call["datastorePath"], msg="no such datastore")
    return store_moref, folder.strip().strip("/")


def _search(call: Call) -> Any:
    store, folder = _asked(call)
    return call.center.tasks.start(call, lambda _running: _listing(call, store, folder))


def _search_below(call: Call) -> Any:
    store, folder = _asked(call)

    def work(_running: Any) -> Any:
        files = _files(call.center, store)
        below = {place for path in files for place in _folders(path) if _within(place, folder)} | {folder}
        return _B.SearchResults.Array([_listing(call, store, folder_path) for folder_path in sorted(below)])

    return call.center.tasks.start(call, work)


def _folders(path: str) -> Iterator[str]:
    parts = path.split("/")[:-1]
    yield from ("/".join(parts[: n + 1]) for n in range(len(parts)))


def _within(place: str, folder: str) -> bool:
    return not folder or place == folder or place.startswith(f"{folder}/")


def _listing(call: Call, store: str, folder: str) -> Any:
    """The content of one folder. Raises FileNotFound."""
    inside: dict[str, int | None] = {}
    prefix = f"{folder}/" if folder else ""
    for path, size in _files(call.center, store).items():
        if path.startswith(prefix):
            name, _, deeper = path.removeprefix(prefix).partition("/")
            inside[name] = None if deeper else size
    name = call.center.estate.inventory.datastores[store].name
    if folder and not inside:
        raise vim.fault.FileNotFound(file=f"[{name}] {folder}", msg=f"File [{name}] {folder} was not found")
    spec = call["searchSpec"]
    wanted = {entry: inside[entry] for entry in sorted(inside) if _matches(entry, spec)}
    return make(
        _B.SearchResults,
        datastore=vim.Datastore(store),
        folderPath=f"[{name}] {prefix}".rstrip() if not folder else f"[{name}] {prefix}",
        file=[
            _file(entry, size, spec.details if spec is not None else None) for entry, size in wanted.items()
        ],
    )


def _matches(name: str, spec: Any) -> bool:
    patterns: Iterable[str] = (spec.matchPattern if spec is not None else None) or ("*",)
    if spec is not None and spec.searchCaseInsensitive is not False:
        return any(fnmatchcase(name.lower(), pattern.lower()) for pattern in patterns)
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _file(name: str, size: int | None, details: Any) -> Any:
    """One file, or a folder when `size` is None, with the requested details."""
    kind = _B.FileInfo
    if details is not None and details.fileType:
        ending = name.rpartition(".")[2]
        kinds = {"vmdk": _B.VmDiskInfo, "vmx": _B.VmConfigInfo, "log": _B.VmLogInfo, "nvram": _B.VmNvramInfo}
        kind = _B.FolderInfo if size is None else kinds.get(ending, _B.FileInfo)
    fields: dict[str, Any] = {"path": name}
    if details is not None:
        fields |= {"fileSize": size or 0} if details.fileSize else {}
        fields |= {"modification": _WRITTEN} if details.modification else {}
        fields |= {"owner": "root"} if details.fileOwner else {}
    return make(kind, **fields)


BROWSER = Kind(
    _B,
    {
        "datastore": lambda view: [
            vim.Datastore(store) for store in _stores(view.center, view.target.subject)
        ],
        "supportedType": lambda _view: [make(_B.FolderQuery), make(_B.VmDiskQuery), make(_B.VmConfigQuery)],
    },
    {"SearchDatastore_Task": _search, "SearchDatastoreSubFolders_Task": _search_below},
    frozenset({"datastore"}),
)


def _log_names(call: Call) -> dict[str, str]:
    return _LOGS if call["host"] is None else _HOST_LOGS


def _descriptions(call: Call) -> list[Any]:
    return [
        make(
            vim.DiagnosticManager.LogDescriptor,
            key=key,
            fileName=path,
            creator=key,
            format="plain",
            mimeType="text/plain",
            info=make(vim.Description, label=key, summary=f"{key} log"),
        )
        for key, path in _log_names(call).items()
    ]


def _log(call: Call) -> Any:
    """The log of vpxd: the tasks so far, one line each."""
    if call["key"] not in _log_names(call):
        raise vmodl.fault.InvalidArgument(invalidProperty="key", msg=f"no log {call['key']}")
    tasks = call.center.tasks.all() if call["key"] == "vpxd" else []
    lines = [
        f"{task.queued.isoformat()} info vpxd [{task.moref}] {task.method} {task.state}" for task in tasks
    ]
    start = max(1, call["start"] or 1)
    selected = lines[start - 1 :][: call["lines"] if call["lines"] is not None else None]
    return make(
        vim.DiagnosticManager.LogHeader, lineStart=start, lineEnd=start + len(selected) - 1 if selected else len(lines),
        lineText=selected,
    )  # fmt: skip


LOGS = Kind(vim.DiagnosticManager, methods={"QueryDescriptions": _descriptions, "BrowseDiagnosticLog": _log})


def _no_disk(call: Call) -> Any:
    raise vim.fault.NotFound(msg=f"no first-class disk {call['id'].id}")


def _no_disks(_call: Call) -> list[Any]:
    """The estate has no first-class disks."""
    return []


STORAGE_OBJECTS = Kind(
    vim.vslm.vcenter.VStorageObjectManager,
    methods={
        "ListVStorageObject": _no_disks,
        "ListVStorageObjectsAttachedToTag": _no_disks,
        "RetrieveVStorageObject": _no_disk,
    },
)
