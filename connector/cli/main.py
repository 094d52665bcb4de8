"""`main` runs one command and answers its exit code. Every failure is one line on stderr."""

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

from connector import __version__, environment, logs, usage
from connector.cli.lazy import LazyGroup
from connector.errors import EXIT_CODES, ConnectorError, Interrupted

EPILOG = "\b\nExit codes:\n" + "\n".join(f"  {code:>3}  {meaning}" for code, meaning in EXIT_CODES.items())


#: Each command is in the module of its name. Its sentence is here, so that help imports nothing.
COMMANDS: Final = {
    "appliance": "Appliances that have enrolled.",
    "application": "Applications: incremental jobs whose sources are cut over as one.",
    "batch": "Waves: many machines by one manifest.",
    "completion": "Print the completion script for a shell.",
    "control": "The control plane: run it, and manage its state and access keys.",
    "demo": "Migrate simulated machines while they write, cut over, and compare every byte.",
    "doctor": "Check the appliance (names, ports, certificates, clock, privileges, VDDK, free space), and find what it left in "
    "vCenter: snapshots, disks to consolidate, locks, CBT.",
    "group": "Workgroups: sources that belong together.",
    "init": "Write an appliance's configuration with a comment for every key.",
    "job": "Migration jobs: create, start, watch, cut over.",
    "machine": "Start images in QEMU, and convert them so that they start.",
    "migrate": "Migrate machines while they run.",
    "record": "Write down what vCenter answers, without names, addresses and secrets, into DIR.",
    "source": "Migration sources: machines that appliances have registered.",
    "support-bundle": "Write what a supporter needs into one file, without secrets: settings, logs, states, errors.",
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
    connector demo                          migrate two simulated machines while they write
    connector vm list  --vcenter URL ...    list machines
    connector vm check --vcenter URL ...    find what blocks a migration
    connector record DIR --vcenter URL ...  record vCenter's answers without names, for a bug report
    connector support-bundle --list         collect what a supporter needs, without secrets
    connector doctor --to DIR --vcenter ..  find leftovers in vCenter; --repair removes them
    connector migrate web-01 --vcenter URL --thumbprint AA:BB:.. --vddk DIR --to DIR
    connector verify images/web-01/evidence.json    check that the image is what was proved
    connector job create web-01 --start --watch     migrate through a control plane
    connector batch apply wave.yaml                 migrate many machines by one manifest
    """


def main(arguments: list[str] | None = None) -> int:
    """Run one command; answer the process's exit code."""
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
        return _tell(usage.refusal(refused), words)
    except click.Abort as aborted:
        return _tell(_at_a_question() if aborted.__cause__ is None else _stopped(), words)
    except KeyboardInterrupt:
        return _tell(_stopped(), words)
    except ConnectorError as failed:
        return _tell(failed, words)
    except Exception as unforeseen:  # noqa: BLE001 - the outermost handler
        message = f"unforeseen {type(unforeseen).__name__}: {unforeseen}"
        return _tell(ConnectorError(message, remedy="this is a defect, please report it"), words)
    return answer if isinstance(answer, int) else 0  # click answers the code of an Exit


def _stopped() -> Interrupted:
    return Interrupted("stopped", remedy="running the same command again resumes")


def _at_a_question() -> Interrupted:
    """click aborts a question without a cause, and everything else because of the interrupt. Commands ask before they act."""
    return Interrupted("stopped at the question; nothing was begun")


@contextmanager
def _interruptible() -> Iterator[None]:
    """Make SIGTERM and a closed terminal end a command as Ctrl-C does. A second signal changes nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = [
        number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is not signal.SIG_IGN
    ]

    def stop(_number: int, _frame: FrameType | None) -> None:
        for number in handlers:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in handlers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _let_go() -> None:
    """Drop output that a closed pipe did not take. Otherwise Python flushes it at the end and exits with 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())


def _tell(failed: ConnectorError, words: list[str]) -> int:
    with suppress(OSError):  # stderr may be closed
        if "--json" in words:
            click.echo(json.dumps(failed.to_json()))
        click.echo(f"connector: {failed}", err=True)
    return failed.exit_code


if __name__ == "__main__":
    sys.exit(main())
