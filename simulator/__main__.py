"""`python -m simulator`: a vCenter with disks and a VDDK on this machine, until a signal stops it.

One JSON line on standard output says that it is ready and where everything is; messages for people go to standard error.
SIGTERM, SIGINT, or (with --exit-with-stdin) the end of standard input stop it cleanly.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import resource
import secrets
import shlex
import signal
import sys
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import TypeVar

import click

from simulator.estate.build import Layout, Sizes, build_estate
from simulator.estate.errors import EstateFault
from simulator.estate.estate import Estate, Policy, Timing
from simulator.faults import POINTS, Faults, Rule, demand_known, parse
from simulator.guest.workload import Workload
from simulator.images.ext4 import ProgramMissing
from simulator.nfc.switches import Switches as NfcSwitches
from simulator.nfc.switches import with_values
from simulator.vcenter import DEFAULT_USER, Options, Server, serve
from simulator.vcenter.api import method_names
from simulator.vcenter.failures import fault_named
from simulator.vixdisklib import CompilerError, has_compiler, install

_ALIGNED = 1 << 20
T = TypeVar("T")


def _size(text: str) -> int:
    """Bytes from a number with an optional suffix K, M, G or T (powers of 1024)."""
    plain = text.strip().upper().removesuffix("B").removesuffix("I")
    shift = {"K": 10, "M": 20, "G": 30, "T": 40}.get(plain[-1:], 0)
    return int(float(plain[:-1]) * (1 << shift)) if shift else int(plain)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--vms", default=2, show_default=True, help="Machines with disks and contents.")
@click.option(
    "--fillers", default=0, show_default=True, help="Machines without disks, for large inventories."
)
@click.option("--hosts", default=2, show_default=True, help="ESXi hosts.")
@click.option("--datastores", default=2, show_default=True, help="Datastores.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=0, show_default=True, help="Port to listen on; 0 takes a free one.")
@click.option(
    "--directory", type=click.Path(path_type=Path), help="Keep the estate here. [default: temporary]"
)
@click.option(
    "--disk",
    "disks",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Put this image (raw, qcow2, vmdk) into a machine of its own. Repeatable.",
)
@click.option("--system-size", type=_size, default="2G", show_default=True, help="Size of a system disk.")
@click.option(
    "--system-content", type=_size, default="200M", show_default=True, help="Files in a system disk."
)
@click.option("--data-size", type=_size, default="1G", show_default=True, help="Size of the data disk.")
@click.option("--data-content", type=_size, default="96M", show_default=True, help="Bytes on the data disk.")
@click.option("--seed", default=0, show_default=True, help="Same seed, same disk contents.")
@click.option("--user", default=DEFAULT_USER, show_default=True, help="The administrator's name.")
@click.option(
    "--password-file",
    type=click.Path(path_type=Path),
    help="Read the password from this file. [default: $SIMULATOR_PASSWORD, else one is made]",
)
@click.option("--session-timeout", default=1800.0, show_default=True, help="Idle seconds that end a session.")
@click.option("--task-seconds", default=0.0, show_default=True, help="The least that a task takes.")
@click.option(
    "--faults",
    "faults_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Fault rules (JSON), see docs/simulator.md.",
)
@click.option("--page", default=0, help="Most objects in one answer of the property collector; 0: no limit.")
@click.option(
    "--cbt-page", default=2000, show_default=True, help="Extents in one answer about changed areas."
)
@click.option("--chunked", is_flag=True, help="Send answers to SOAP calls in chunks, without their length.")
@click.option("--cbt-gaps", is_flag=True, help="Answer quiet stretches with empty windows.")
@click.option(
    "--tracking-with-snapshots",
    type=click.Choice(["silent", "refuse"]),
    default="silent",
    show_default=True,
    help="Enabling CBT while snapshots exist: accepted and wrong, or refused.",
)
@click.option(
    "--shutdown-seconds", default=0.3, show_default=True, help="How long a guest takes to shut down."
)
@click.option(
    "--deny", multiple=True, help="Take a privilege away: PRIVILEGE or PRIVILEGE@MOREF. Repeatable."
)
@click.option(
    "--guest-rate", type=_size, default="1M", show_default=True, help="Bytes/s that a running guest writes."
)
@click.option("--no-guest", is_flag=True, help="Nothing writes in the machines.")
@click.option("--power-off", is_flag=True, help="Leave new machines powered off.")
@click.option(
    "--vddk-dir",
    type=click.Path(path_type=Path),
    help="Where to put the VDDK. [default: DIRECTORY/vddk, if there is a C compiler]",
)
@click.option("--no-vddk", is_flag=True, help="Do not build the stand-in VDDK.")
@click.option(
    "--nfc",
    multiple=True,
    help="How NFC of the hosts behaves: SWITCH=VALUE, see docs/simulator-nfc.md. Repeatable.",
)
@click.option("--exit-with-stdin", is_flag=True, help="Stop when standard input ends.")
@click.option("-v", "--verbose", is_flag=True, help="Log to standard error.")
def main(**given: object) -> None:
    """An imaginary vCenter with real disks, for trying and testing without VMware."""
    logging.basicConfig(
        level=logging.DEBUG if given["verbose"] else logging.WARNING,
        format="%(asctime)s %(name)s %(levelname)s %(message)s",
    )
    try:
        with ExitStack() as stack:
            _run(stack, given)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            taken = f"port {given['port']} of {given['host']} is taken: stop the program that has it, or give another --port"
            raise click.ClickException(taken) from None
        raise click.ClickException(str(error)) from None
    except (ProgramMissing, CompilerError, EstateFault, RuntimeError, ValueError) as error:
        raise click.ClickException(str(error)) from None


def _run(stack: ExitStack, arguments: dict[str, object]) -> None:
    stop = _stop_event(bool(arguments["exit_with_stdin"]))
    _raise_file_limit()
    directory = _directory(stack, arguments["directory"])
    password, password_file = _password(directory, arguments["password_file"])
    faults = _faults(arguments["faults_file"])
    estate = build_estate(
        directory,
        _layout(arguments),
        _int(arguments["seed"]),
        timing=Timing(guest_shutdown=_float(arguments["shutdown_seconds"])),
        policy=Policy(
            tracking_with_snapshots="refuse" if arguments["tracking_with_snapshots"] == "refuse" else "silent"
        ),
        faults=faults,
    )
    stack.callback(estate.close)
    options = Options(
        session_timeout=_float(arguments["session_timeout"]),
        page=_int(arguments["page"]),
        cbt_page=_int(arguments["cbt_page"]),
        cbt_gaps=bool(arguments["cbt_gaps"]),
        chunked=bool(arguments["chunked"]),
        task_seconds=_float(arguments["task_seconds"]),
    )
    server = stack.enter_context(
        serve(
            estate,
            accounts={str(arguments["user"]): password},
            host=str(arguments["host"]),
            port=_int(arguments["port"]),
            options=options,
            nfc_switches=with_values(NfcSwitches(), _strings(arguments["nfc"])),
        )
    )
    for denied in _strings(arguments["deny"]):
        privilege, _, entity = denied.partition("@")
        server.center.authority.deny(privilege, entity or "*")
    vddk = _vddk(estate, arguments)
    if not arguments["no_guest"]:
        _start_guests(stack, estate, _int(arguments["guest_rate"]), _int(arguments["seed"]))
    _announce(server, password_file, vddk, directory)
    stop.wait()


def _of(kind: type[T], value: object) -> T:
    """An option's value; click has made it of this type."""
    if not isinstance(value, kind):
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value


def _int(value: object) -> int:
    return _of(int, value)


def _float(value: object) -> float:
    return float(_of(int, value) if isinstance(value, int) else _of(float, value))


def _strings(value: object) -> tuple[str, ...]:
    return _of(tuple, value)


def _stop_event(with_stdin: bool) -> threading.Event:
    """Set by SIGTERM, SIGINT, or the end of standard input."""
    stop = threading.Event()

    def told(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, told)
    signal.signal(signal.SIGINT, told)
    if with_stdin:
        threading.Thread(target=_until_stdin_ends, args=(stop,), name="stdin", daemon=True).start()
    return stop


def _until_stdin_ends(stop: threading.Event) -> None:
    while os.read(0, 4096):
        pass
    stop.set()


def _raise_file_limit() -> None:
    """Each disk keeps a few files open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _directory(stack: ExitStack, path: object) -> Path:
    if path is None:
        temporary = tempfile.TemporaryDirectory(prefix="simulator-", ignore_cleanup_errors=True)
        return Path(stack.enter_context(temporary))
    directory = _of(Path, path)
    directory.mkdir(parents=True, exist_ok=True)
    return directory.absolute()


def _password(directory: Path, password_file: object) -> tuple[str, Path]:
    """The password and a file that holds it; a kept estate keeps its password."""
    if isinstance(password_file, Path):
        return password_file.read_text().rstrip("\r\n"), password_file.absolute()
    stored = directory / "password"
    password = os.environ.get("SIMULATOR_PASSWORD") or (
        stored.read_text() if stored.exists() else secrets.token_urlsafe(18)
    )
    fd = os.open(stored, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(fd, "w") as file:
        file.write(password)
    return password, stored


def _faults(file: object) -> Faults:
    """The rules of a file. Raises ValueError, also for a call or a fault that the API does not have."""
    if not isinstance(file, Path):
        return Faults()
    rules = parse(file.read_text())
    demand_known(rules, _calls())
    for rule in rules:
        if rule.action == "fault":
            _check_fault(rule)
    return Faults(rules)


def _calls() -> frozenset[str]:
    """What a rule may be for: methods, their tasks, and the places within operations."""
    methods = method_names()
    tasks = {f"{when}:{name}" for name in methods if name.endswith("_Task") for when in ("task", "done")}
    return methods | tasks | POINTS.keys()


def _check_fault(rule: Rule) -> None:
    try:
        fault_named(rule.fault, rule.message, **rule.details)
    except (KeyError, TypeError):
        raise ValueError(
            f"fault rule for {rule.call}: the API has no fault {rule.fault} with these details"
        ) from None


def _layout(arguments: dict[str, object]) -> Layout:
    images: dict[str, tuple[Path, ...]] = {}
    for path in _strings(arguments["disks"]):
        name = Path(path).name.partition(".")[0] or "image"
        while name in images:
            name += "-2"
        images[name] = (Path(path),)
    return Layout(
        vms=_int(arguments["vms"]),
        hosts=_int(arguments["hosts"]),
        datastores=_int(arguments["datastores"]),
        fillers=_int(arguments["fillers"]),
        sizes=Sizes(
            system=_int(arguments["system_size"]) // _ALIGNED * _ALIGNED,
            system_content=_int(arguments["system_content"]),
            data=_int(arguments["data_size"]) // _ALIGNED * _ALIGNED,
            data_content=_int(arguments["data_content"]),
        ),
        images=images,
        power_on=not arguments["power_off"],
    )


def _vddk(estate: Estate, arguments: dict[str, object]) -> Path | None:
    if arguments["no_vddk"]:
        return None
    chosen = arguments["vddk_dir"]
    if isinstance(chosen, Path):
        return install(chosen.absolute(), estate.export.root)
    if not has_compiler():
        click.echo("No C compiler, so there is no stand-in VDDK. Disks can be read over NFC.", err=True)
        return None
    return install((estate.directory / "vddk").absolute(), estate.export.root)


def _start_guests(stack: ExitStack, estate: Estate, rate: int, seed: int) -> None:
    for number, (moref, vm) in enumerate(estate.inventory.vms.items()):
        if any(disk.storage and disk.scratch is not None for disk in vm.disks):
            workload = Workload(estate, moref, seed=seed + number, rate=rate)
            workload.start()
            stack.callback(workload.stop)


def _announce(server: Server, password_file: Path, vddk: Path | None, directory: Path) -> None:
    ready = {
        "url": server.url,
        "thumbprint": server.thumbprint,
        "thumbprint_sha256": server.thumbprint_sha256,
        "certificate": str(server.certificate),
        "user": server.user,
        "password_file": str(password_file),
        "vddk": None if vddk is None else str(vddk),
        "directory": str(directory),
        "pid": os.getpid(),
    }
    sys.stdout.write(json.dumps(ready) + "\n")
    sys.stdout.flush()
    environment = directory / "environment"
    environment.write_text(_environment(server, password_file, vddk))
    names = ", ".join(vm.name for vm in list(server.center.estate.inventory.vms.values())[:6])
    click.echo(
        f"""simulated vCenter ready
  url         {server.url}
  user        {server.user}
  password    in {password_file}
  thumbprint  SHA-1   {server.thumbprint}
              SHA-256 {server.thumbprint_sha256}
  machines    {names}
  VDDK        {vddk or "not built"}

  . {environment}    # in the terminal where you run connector; it exports:
{_indented(environment)}

  export GOVC_URL={server.url} GOVC_USERNAME='{server.user}'
  export GOVC_PASSWORD="$(cat {password_file})" GOVC_TLS_CA_CERTS={server.certificate}
  govc find / -type m

Stop with Ctrl-C or SIGTERM.""",
        err=True,
    )


def _environment(server: Server, password_file: Path, vddk: Path | None) -> str:
    """The connector's environment variables as shell commands. They name the password's file, not the password."""
    variables = {
        "CONNECTOR_VCENTER_URL": server.url.removesuffix("/sdk"),
        "CONNECTOR_VCENTER_USER": server.user,
        "CONNECTOR_VCENTER_PASSWORD_FILE": str(password_file),
        "CONNECTOR_VCENTER_THUMBPRINT": server.thumbprint_sha256,
    }
    if vddk is not None:
        variables["CONNECTOR_VDDK"] = str(vddk)
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())


def _indented(file: Path) -> str:
    return "\n".join(f"      {line}" for line in file.read_text().splitlines())


if __name__ == "__main__":
    main()
