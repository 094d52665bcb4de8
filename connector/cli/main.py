"""The outermost handler: commands in, exit codes out; every failure is one line on stderr."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

import click

from connector import __version__, environment, logs
from connector.cli.lazy import LazyGroup
from connector.errors import EXIT_CODES, BadInput, ConnectorError, Interrupted

EPILOG = "\b\nExit codes:\n" + "\n".join(f"  {code:>3}  {meaning}" for code, meaning in EXIT_CODES.items())


#: Each in the module of its name, with the first sentence of its help: to show it, nothing is imported.
COMMANDS: Final = {
    "appliance": "Appliances that have enrolled.",
    "application": "Applications: incremental jobs whose sources are cut over as one.",
    "batch": "Waves: many machines by one manifest.",
    "completion": "Print the completion script for a shell.",
    "control": "The control plane: run it, and decide who may call it.",
    "demo": "Migrate simulated machines while they write, cut over, and compare every byte.",
    "doctor": "Check the appliance (names, ports, certificates, clock, privileges, VDDK, room), and find what of ours was left "
    "in vCenter: snapshots, disks to consolidate, locks, CBT.",
    "group": "Workgroups: sources that belong together.",
    "init": "Write an appliance's configuration, with a comment for every key, by asking for what is not given.",
    "job": "Migration jobs: create, start, watch, cut over.",
    "migrate": "Migrate machines while they run.",
    "record": "Write down what vCenter answers, without names, addresses and secrets, into DIR.",
    "source": "Migration sources: machines that appliances have registered.",
    "token": "Activation codes (access tokens), with which appliances enrol.",
    "verify": "Check images against the MANIFEST of the pass that made them; needs no network.",
    "vm": "Machines in vCenter: list them, check them.",
}


@click.group(
    cls=LazyGroup,
    package="connector.cli",
    below=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EPILOG,
)
@click.version_option(__version__, prog_name="connector")
def connector() -> None:
    """Move running virtual machines out of vCenter without installing anything in a guest, and prove it.

    \b
    connector demo                          two simulated machines, migrated while they write
    connector vm list  --vcenter URL ...    what is there
    connector vm check --vcenter URL ...    what stands in the way
    connector record DIR --vcenter URL ...  what vCenter says, scrubbed, for a bug report
    connector doctor --to DIR --vcenter ..  what of ours was left in vCenter; --repair mends it
    connector migrate web-01 --vcenter URL --thumbprint AA:BB:.. --vddk DIR --to DIR
    connector verify images/web-01/evidence.json    is the image still what was proved?
    connector job create web-01 --start --watch     the same through a control plane
    connector batch apply wave.yaml                 many machines by one manifest
    """


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the value is the process's exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    environment.hide()
    logs.for_a_person()
    try:
        return _run(words)
    finally:
        _let_go()


def _run(words: list[str]) -> int:
    try:
        with _interruptible():
            answer = connector.main(args=words or ["--help"], prog_name="connector", standalone_mode=False)
    except click.ClickException as refused:
        return _tell(_as_ours(refused), words)
    except (click.Abort, KeyboardInterrupt):
        return _tell(Interrupted("stopped", remedy="running the same command again resumes"), words)
    except ConnectorError as failed:
        return _tell(failed, words)
    except Exception as unforeseen:  # noqa: BLE001 - the outermost handler
        what = f"unforeseen {type(unforeseen).__name__}: {unforeseen}"
        return _tell(ConnectorError(what, remedy="this is a defect, please report it"), words)
    return answer if isinstance(answer, int) else 0  # click answers the code of an Exit


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM and a closed terminal end a command in the order in which Ctrl-C does; asking twice changes nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = [
        number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is not signal.SIG_IGN
    ]

    def stop(_number: int, _frame: FrameType | None) -> None:
        for number in asked:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in asked}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _let_go() -> None:
    """What a reader that went away did not take must not become the exit code: at its end Python flushes, and fails with 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())


def _tell(failed: ConnectorError, words: list[str]) -> int:
    with suppress(OSError):  # nobody listens any more
        if "--json" in words:
            click.echo(json.dumps(failed.to_json()))
        click.echo(f"connector: {failed}", err=True)
    return failed.exit_code


def _as_ours(refused: click.ClickException) -> BadInput:
    """What the option parser refused, in one line like everything else."""
    context = refused.ctx if isinstance(refused, click.UsageError) else None
    command = context.command_path if context else "connector"
    return BadInput(refused.format_message().rstrip("."), remedy=f"see {command} --help")


if __name__ == "__main__":
    sys.exit(main())
