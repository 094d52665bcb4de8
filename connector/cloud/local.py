"""The embedded target cloud: an instance is a directory and a child process, an image is files.

A child lives as long as this process: it ends when a pipe closes, so nothing outlives a killed control plane. Only the
directory is left then, and `create_instance` starts the same instance on it again.

    ROOT/instances/TOKEN/instance.json   token, job, address
    ROOT/instances/TOKEN/process.log     what the child wrote on stderr
    ROOT/instances/TOKEN/data/           disks and journal; owned by the child
    ROOT/machines/NAME/                  machines of the user, which a job may put an image onto: local_targets.py
    ROOT/drills/                         of drills under way: overlays, which go with them
    ROOT/images/NAME/                    finished images, each with machine.json: the machine that it belongs in
    ROOT/images/NAME/drill/              what the last drill of the image kept
    ROOT/images/.NAME.json               the token of the instance that made it, and the run when it is whole
    ROOT/images/.NAME.making/            an incomplete image
    ROOT/images/.NAME.former/            an earlier image of that name, being removed
"""

from __future__ import annotations

import json
import logging
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from connector import child, private
from connector.child import Child
from connector.clients.endpoint import objects
from connector.cloud import addresses, conversion_child, image_order, machine_files, ovf
from connector.cloud.addresses import AddressSpace, LoopbackAddresses
from connector.cloud.drill_child import LocalDrills
from connector.cloud.file_errors import translated
from connector.cloud.local_targets import LocalTargets
from connector.cloud.machine_files import ImageDisk, MachineDescription
from connector.cloud.provider import (
    INSTANCE_NAME,
    CloudResource,
    Health,
    ImageRequest,
    Instance,
    InstanceRequest,
    Placement,
    StoredImage,
)
from connector.errors import BadInput, Conflict, ControlFailed, TargetFailed
from connector.files import move, replace
from connector.model import InstanceAddress, TargetLimits
from connector.specification import image_formats
from connector.specification.image_formats import ImageFormat

log = logging.getLogger(__name__)

#: Seconds in which a child of a killed control plane notices that its pipe is closed.
ORPHAN_PATIENCE: Final = 25.0
_ATTEMPTS: Final = 3


#: An image is files: what an instance takes, and as many disks as a machine can have.
LIMITS: Final = TargetLimits(largest_disk=1 << 50, most_disks=256)


class LocalProvider:
    """The provider `local`: instances under `root`. Only one process at a time owns a root.

    `module`: the program of an instance. `order`: orders the files of an image at an instance. `converter`: the program that
    converts images and starts copies. `space`: where instances listen.
    """

    def __init__(
        self,
        root: Path,
        module: str = "connector.instance",
        order: image_order.Order = image_order.order_image,
        converter: str = conversion_child.MODULE,
        space: AddressSpace | None = None,
    ) -> None:
        self._root = root.resolve()
        self._space: AddressSpace = LoopbackAddresses() if space is None else space
        self._module = module
        self._order = order
        self._converter = converter
        self._children: dict[str, Child] = {}
        self._locks: dict[str, threading.RLock] = {}
        self._guard = threading.Lock()  # guards the two dictionaries and the choice of addresses
        with translated(self._root):
            self._root.mkdir(parents=True, exist_ok=True)
            private.directory(self._root / "instances")
            (self._root / "images").mkdir(exist_ok=True)
        self.drills = LocalDrills(self._root, converter)
        self.target_instances = LocalTargets(self._root)

    def offers(self, ability: str) -> bool:
        return ability == "image files" or (ability == "conversion" and not self._conversion_trouble)

    @cached_property
    def _conversion_trouble(self) -> str:
        trouble = conversion_child.trouble(self._converter)
        if trouble:
            log.info("no image can be converted here: %s", trouble)
        return trouble

    @property
    def billed(self) -> bool:
        return False

    @property
    def limits(self) -> TargetLimits:
        return LIMITS

    def check(self, placement: Placement) -> None:
        """Accept every placement: a directory has no type and no network."""

    def remove_drill(self, token: str) -> None:
        """Nothing outlives a drill but its directory, which the next one removes."""

    def create_instance(self, request: InstanceRequest) -> Instance:
        directory = self._directory(request.token)
        with self._exclusively(request.token), translated(directory):
            if self._running(request.token) is None:
                private.directory(directory)
                private.directory(directory / "data")
                if (directory / "instance.json").exists():
                    self._start_again(request, directory)
                else:
                    self._start_first(request, directory)
            _note_disks(directory / "instance.json", request)
        instance = self.find(request.token)
        if instance is None:
            raise _gone(directory)
        return instance

    def _start_again(self, request: InstanceRequest, directory: Path) -> None:
        """Start an instance at its former address, which running appliances know."""
        record = _read(directory / "instance.json")
        if record is None:
            raise _gone(directory)
        address = _address(record)
        addresses.wait_free(address, ORPHAN_PATIENCE)
        self._start(request, directory, address)

    def _start_first(self, request: InstanceRequest, directory: Path) -> None:
        """Start an instance at the first free address; if another program takes it, at the next."""
        for attempts_left in reversed(range(_ATTEMPTS)):
            with self._guard:
                used = {_address(r) for r in map(_read, self._root.glob("instances/*/instance.json")) if r}
                address = addresses.choose(self._space, request.token, used)
                facts: dict[str, object] = {
                    "token": request.token,
                    "job": request.job_id,
                    **asdict(address),
                    "name": INSTANCE_NAME,
                }
                _write(directory / "instance.json", facts)
            try:
                return self._start(request, directory, address)
            except ControlFailed:
                if not attempts_left or not addresses.busy_ports(address):
                    raise
            (directory / "instance.json").unlink()
        return None

    def _start(self, request: InstanceRequest, directory: Path, address: InstanceAddress) -> None:
        credential = request.credential
        started = child.start(
            self._module,
            [
                *("--directory", str(directory / "data")),
                *("--host", address.host),
                *("--control-port", str(address.control_port)),
                *("--block-port", str(address.block_port)),
                "--credential-stdin",
                "--exit-with-stdin",
            ],
            name=f"instance {request.token}",
            configuration={
                "authority": credential.authority,
                "certificate": credential.certificate,
                "key": credential.key,
            },
            log=directory / "process.log",
        )
        with self._guard:
            self._children[request.token] = started

    def find(self, token: str) -> Instance | None:
        directory = self._directory(token)
        record = _read(directory / "instance.json")
        if record is None:
            return None
        health = Health.STOPPED if self._running(token) is None else Health.RUNNING
        disks = [CloudResource("disk", str(directory / "data" / "disks" / key)) for key in _disks(record)]
        return Instance(str(directory), INSTANCE_NAME, _address(record), health, tuple(disks), token)

    def describe(self) -> Sequence[Instance]:
        tokens = sorted(path.parent.name for path in self._root.glob("instances/*/instance.json"))
        return [instance for token in tokens if (instance := self.find(token)) is not None]

    def release(self, token: str, *, keep_disks: bool) -> None:
        directory = self._directory(token)
        with self._exclusively(token), translated(directory):
            with self._guard:
                running = self._children.pop(token, None)
            if running is not None:
                running.stop()
            if keep_disks or not directory.exists():
                return
            if running is None and (record := _read(directory / "instance.json")):
                addresses.wait_free(_address(record), ORPHAN_PATIENCE)
            shutil.rmtree(directory)

    def make_image(self, request: ImageRequest) -> StoredImage:
        """Make the image. The instance writes files, which are then moved; existing files are not written again."""
        instance = self.find(request.token)
        if instance is None:
            raise TargetFailed("there is no such instance", on=request.token, remedy="start the job again")
        target = self._root / "images" / _plain(request.name)
        details = _made(target, request)
        if details is None:
            details = self._ordered(instance, request, target)
        if request.conversion == "none" and not request.boot_check:
            return _image(target, details)
        result = conversion_child.convert(
            target, request.conversion, boot_check=request.boot_check, module=self._converter
        )
        notes = "; ".join(filter(None, (str(details.get("note") or ""), *result.notes)))
        more = {"note": notes, "converted": result.location, "conversion": result.report}
        return _image(target, {**details, **more})

    def _ordered(self, instance: Instance, request: ImageRequest, target: Path) -> Mapping[str, object]:
        """Let the instance make the image, take it over, and answer its details."""
        order = self._order(instance.address, request)
        form = image_formats.named(str(order.details.get("format", request.format)))
        machine = _description(request, form, order.details)
        self._take_over(
            request.token, target, order.files, lambda draft: _described(machine, form, target, draft)
        )
        with translated(target):
            record: dict[str, object] = {"token": request.token, "run": request.run}
            _write(_owner(target), record | {"details": dict(order.details)})
        return order.details

    def _take_over(
        self, token: str, target: Path, files: Sequence[str], describe: Callable[[Path], Mapping[str, bytes]]
    ) -> None:
        with self._exclusively(token), translated(target):
            _claim(target, token)
            sources = [self._handed_over(token, file) for file in files]
            names = {source.name for source in sources}
            draft = _draft(target)
            has_files = draft.exists() or any(source.exists() for source in sources)
            if not has_files and target.is_dir() and names <= _names(target):
                _remove(_former(target))
                return
            draft.mkdir(exist_ok=True)
            for stale in _names(draft) - names:
                (draft / stale).unlink()
            for source in sources:
                if source.exists():
                    move(source, draft / source.name)
            if missing := sorted(names - _names(draft)):
                raise TargetFailed(
                    f"the image lacks {', '.join(missing)}",
                    on=target.name,
                    remedy="start the job again: the image is made anew",
                )
            for file, content in describe(draft).items():
                replace(draft / file, content)
            _put(draft, target)

    def _handed_over(self, token: str, file: str) -> Path:
        data = self._directory(token) / "data"
        source = (data / file).resolve()
        if not source.is_relative_to(data):
            raise TargetFailed(
                "the instance named a file outside of its directory",
                on=token,
                remedy="run the same release on control plane and instance",
            )
        return source

    def list_images(self) -> Sequence[StoredImage]:
        return [_image(path) for path in sorted((self._root / "images").iterdir()) if _is_image(path)]

    def delete_image(self, name: str) -> None:
        target = self._root / "images" / _plain(name)
        with translated(target):
            for own_files in (target, _draft(target), _former(target)):
                _remove(own_files)
            _owner(target).unlink(missing_ok=True)

    def close(self) -> None:
        with self._guard:
            children, self._children = self._children, {}
        for running in children.values():
            running.stop()

    def _running(self, token: str) -> Child | None:
        with self._guard:
            instance = self._children.get(token)
            if instance is not None and instance.exit_code() is not None:
                instance.stop()  # it has ended: this only reaps it and closes its pipes
                del self._children[token]
                return None
            return instance

    def _directory(self, token: str) -> Path:
        return self._root / "instances" / _plain(token)

    @contextmanager
    def _exclusively(self, token: str) -> Iterator[None]:
        with self._guard:
            lock = self._locks.setdefault(token, threading.RLock())
        with lock:
            yield


def _gone(directory: Path) -> TargetFailed:
    return TargetFailed(
        "the record of this instance is gone", on=str(directory / "instance.json"), remedy="delete the job"
    )


def _plain(name: str) -> str:
    if not name or name.startswith(".") or "/" in name or "\0" in name:
        raise BadInput("not usable as a file name", on=repr(name))
    return name


def _read(record: Path) -> dict[str, object] | None:
    try:
        content = json.loads(record.read_text())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise TargetFailed("this file is damaged", on=str(record), remedy="delete the job") from error
    return content if isinstance(content, dict) else None


def _address(record: dict[str, Any]) -> InstanceAddress:
    """Where the instance listens. Records of version 0.1.0 name no ports."""
    ports = {name: int(record[name]) for name in ("control_port", "block_port") if name in record}
    return InstanceAddress(str(record["host"]), **ports)


def _disks(record: dict[str, object]) -> list[str]:
    """Keys of the requested disks."""
    instance = record.get("disks", [])
    return [str(key) for key in instance] if isinstance(instance, list) else []


def _note_disks(record: Path, request: InstanceRequest) -> None:
    record_known, wanted = _read(record) or {}, [str(disk.key) for disk in request.disks]
    if _disks(record_known) != wanted:
        _write(record, record_known | {"disks": wanted})


def _write(record: Path, content: dict[str, object]) -> None:
    """Write a record completely or not at all, even if the power fails."""
    replace(record, json.dumps(content).encode())


def _put(draft: Path, target: Path) -> None:
    """Move an image into place. The name has the whole earlier image, or nothing, or the whole new one."""
    former = _former(target)
    if target.exists():  # an earlier order had this name
        _remove(former)
        move(target, former)
    move(draft, target)
    _remove(former)


def _remove(directory: Path) -> None:
    if directory.exists():
        shutil.rmtree(directory)


def _claim(target: Path, token: str) -> None:
    """Raise Conflict if the name belongs to an image of another instance."""
    record = _owner(target)
    if target.exists() and (_read(record) or {}).get("token") != token:
        raise Conflict(
            "an image of that name is already there", on=str(target), remedy="move it away, then run again"
        )
    _write(record, {"token": token})


def _made(target: Path, request: ImageRequest) -> Mapping[str, object] | None:
    """The details of the image of this run, if it is whole: a conversion that was killed goes on with it. None if it is not."""
    known = _read(_owner(target)) or {}
    details = known.get("details")
    is_same = (known.get("token"), known.get("run")) == (request.token, request.run)
    return details if is_same and isinstance(details, dict) and target.is_dir() else None


def _owner(target: Path) -> Path:
    return target.with_name(f".{target.name}.json")


def _draft(target: Path) -> Path:
    return target.with_name(f".{target.name}.making")


def _former(target: Path) -> Path:
    return target.with_name(f".{target.name}.former")


def _names(directory: Path) -> set[str]:
    return {instance.name for instance in directory.iterdir()}


def _is_image(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")


def _described(
    machine: MachineDescription, form: ImageFormat, target: Path, draft: Path
) -> Mapping[str, bytes]:
    """The files beside the image, which is whole in `draft` and will be in `target`."""
    sizes = {disk.file: (draft / disk.file).stat().st_size for disk in machine.disks}
    return machine_files.files(machine, target) | ovf.files(machine, form, sizes)


def _description(
    request: ImageRequest, form: ImageFormat, details: Mapping[str, object]
) -> MachineDescription:
    """The machine of the image, with the files that the instance wrote."""
    disks = tuple(
        ImageDisk(str(row["file"]), form.driver, int(str(row["capacity"])))
        for row in objects(details, "disks", request.name)
    )
    return machine_files.described(request, request.name, disks)


def _image(path: Path, details: Mapping[str, object] | None = None) -> StoredImage:
    files = sorted(file for file in path.iterdir() if file.is_file())
    return StoredImage(
        name=path.name,
        location=str(path),
        files=tuple(str(file) for file in files),
        size=sum(file.stat().st_blocks * 512 for file in files),
        created=path.stat().st_ctime,
        details=details or {},
    )
