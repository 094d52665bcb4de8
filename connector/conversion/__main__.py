"""Converts an image and starts a copy of it, as a child process: a request on standard input, one line of JSON as the answer.

A drill (`drill_child`) and a conversion of whole disks (`in_place`) answer with several lines.

It ends when its standard input does, and with it everything that it has started.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from connector import child
from connector.cloud import machine_files
from connector.cloud.machine_files import CONVERSION, CONVERTED
from connector.conversion import conversion, drill_child, in_place
from connector.conversion.boot_check import boot_check
from connector.conversion.guest_disks import require_guestfs
from connector.conversion.virtual_machine import BootDisk, hardware_for, require_tools
from connector.errors import BadInput, ConnectorError


def main() -> None:
    request = child.read_configuration()
    threading.Thread(target=_end_with_stdin, name="stdin", daemon=True).start()
    try:
        child.report_ready(_answer(request))
        if isinstance(drill_order := request.get("drill"), dict):
            drill_child.serve(drill_order, child.report_ready)
        if isinstance(order := request.get("in_place"), dict):
            in_place.serve(order, child.report_ready)
    except ConnectorError as failed:
        child.report_failure(failed)


def _end_with_stdin() -> None:
    while sys.stdin.buffer.read(4096):
        pass
    os._exit(1)  # whatever the main thread waits for; our children are killed by the kernel


def _answer(request: Mapping[str, Any]) -> dict[str, object]:
    require_tools("efi")
    require_guestfs()
    if "directory" not in request:
        return {"ready": True}
    directory = Path(request["directory"])
    machine = machine_files.read(directory)
    if machine is None:
        raise BadInput(f"has no {machine_files.NAME}", on=str(directory))
    answer: dict[str, object] = {"refusal": "", "boot_refusal": ""}
    if request["network"] != "none":
        try:
            answer["conversion"] = _converted(directory, machine, str(request["network"]))
        except ConnectorError as refused:  # the image is whole, and is what the run was for
            answer["refusal"] = str(refused)
    if request["boot_check"]:
        try:
            answer["boot"] = _started(directory, machine)
        except ConnectorError as refused:
            answer["boot_refusal"] = str(refused)
    return answer


def _converted(directory: Path, machine: machine_files.MachineDescription, network: str) -> object:
    """The report; from the files when they were converted before."""
    target = directory / CONVERTED
    if target.exists():
        return json.loads((target / CONVERSION).read_text())
    disks = tuple(BootDisk(directory / disk.file, disk.format) for disk in machine.disks)
    image = conversion.guest_image(machine, disks, network, keeps_macs=True)
    return conversion.convert(image, machine, target).to_json()


def _started(directory: Path, machine: machine_files.MachineDescription) -> object:
    home = directory / CONVERTED if (directory / CONVERTED).exists() else directory
    described = machine_files.read(home) or machine
    disks = tuple(BootDisk(home / disk.file, disk.format) for disk in described.disks)
    hardware = hardware_for(machine, disks)
    return boot_check(hardware, keep=directory / "boot-check").to_json()


if __name__ == "__main__":
    main()
    os._exit(0)  # the thread that reads standard input would make the interpreter's own end a crash
