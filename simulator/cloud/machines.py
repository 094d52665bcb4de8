"""A running instance is a process that replaces its guest; the operator gives the command that starts it.

Instances of images of the account's own have a command of their own, whose output is their console.
Commands may use these placeholders:

    {id} {address}   the instance's id, and the address where its programs must listen
    {directory}      a directory in place of the system disk's file system; it is removed with the disk, and not by a stop
    {devices}        a directory in place of /dev: vda, vdb and so on, and disk/by-id/virtio-SERIAL, links to the disks' files
    {user_data}      a file with the instance's UserData
    {machine}        a JSON file with all of this

Its standard input ends with the simulator; its output is in DIRECTORY/instances/ID/console.log.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from simulator.cloud.resources import GIB, Disk, Instance


class Boot:
    """Starts and ends the processes of instances, and plugs their disks. Without a command nothing runs."""

    def __init__(self, directory: Path, command: str = "", guest: str = "") -> None:
        self._directory = directory.absolute() / "instances"
        self._words = shlex.split(command)
        self._guest = shlex.split(guest)

    def start(self, instance: Instance, disks: Iterable[Disk]) -> None:
        """Power on."""
        home = self._home(instance)
        (home / "dev" / "disk" / "by-id").mkdir(parents=True, exist_ok=True)
        plugged = list(disks)
        for disk in plugged:
            self.plug(instance, disk)
        (home / "user-data").write_bytes(instance.user_data)
        facts = self._facts(instance, plugged)
        (home / "machine.json").write_text(json.dumps(facts, indent=1))
        words = self._guest if instance.guest else self._words
        if not words:
            return
        with (home / "console.log").open("ab") as console:
            instance.process = subprocess.Popen(
                [_filled(word, facts) for word in words],
                stdin=subprocess.PIPE,
                stdout=console,
                stderr=console,
                env={name: text for name, text in os.environ.items() if "SECRET" not in name},
                process_group=0,
            )

    def stop(self, instance: Instance, limit: float, *, force: bool) -> None:
        """Ask the guest to shut down; it is switched off after `limit` seconds, or at once."""
        process = instance.process
        if process is None:
            return
        if force:
            process.kill()
        else:
            process.send_signal(signal.SIGTERM)
        threading.Thread(target=_end, args=(process, limit), name=f"stop {instance.id}", daemon=True).start()

    def kill(self, instance: Instance) -> None:
        """Power off, now."""
        if instance.process is not None:
            instance.process.kill()
            _end(instance.process, 5.0)
            instance.process = None

    def is_off(self, instance: Instance) -> bool:
        """Whether a guest that was stopped has ended."""
        if instance.process is not None and instance.process.poll() is None:
            return False
        instance.process = None
        return True

    def plug(self, instance: Instance, disk: Disk) -> None:
        """The guest sees the disk."""
        for link in self._links(instance, disk):
            if not link.is_symlink():
                link.symlink_to(disk.path)

    def unplug(self, instance: Instance, disk: Disk) -> None:
        for link in self._links(instance, disk):
            link.unlink(missing_ok=True)

    def forget(self, instance: Instance) -> None:
        """Forget a deleted instance."""
        self.kill(instance)
        shutil.rmtree(self._home(instance), ignore_errors=True)

    def console(self, instance_id: str) -> str:
        """The output of the instance."""
        return self.console_bytes(instance_id).decode(errors="replace")

    def console_bytes(self, instance_id: str, most: int = 1 << 30) -> bytes:
        """The last bytes of the output of the instance, `most` of them."""
        path = self._directory / instance_id / "console.log"
        return path.read_bytes()[-most:] if path.exists() else b""

    def _links(self, instance: Instance, disk: Disk) -> tuple[Path, Path]:
        devices = self._home(instance) / "dev"
        letter = disk.device.removeprefix("/dev/x")
        return devices / letter, devices / "disk" / "by-id" / f"virtio-{disk.serial[:20]}"

    def _home(self, instance: Instance) -> Path:
        return self._directory / instance.id

    def _facts(self, instance: Instance, disks: list[Disk]) -> dict[str, Any]:
        home = self._home(instance)
        root = next((disk.root for disk in disks if disk.root is not None), home)
        return {
            "id": instance.id,
            "address": instance.nic,
            "directory": str(root),
            "devices": str(home / "dev"),
            "user_data": str(home / "user-data"),
            "machine": str(home / "machine.json"),
            "disks": [
                {
                    "id": disk.id,
                    "serial": disk.serial,
                    "device": disk.device,
                    "path": str(disk.path),
                    "size": disk.size * GIB,
                }
                for disk in disks
            ],
        }


def _filled(word: str, facts: dict[str, Any]) -> str:
    for name in ("id", "address", "directory", "devices", "user_data", "machine"):
        word = word.replace("{" + name + "}", facts[name])
    return word


def _end(process: subprocess.Popen[bytes], limit: float) -> None:
    try:
        process.wait(limit)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdin is not None:
        try:
            process.stdin.close()
        except OSError:
            return
