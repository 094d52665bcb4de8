"""The outermost door: commands in, exit codes out; every failure is one line on stderr."""

from __future__ import annotations

import json
import sys

import click

from connector import __version__
from connector.cli.demo import demo
from connector.cli.migrate import migrate
from connector.cli.vm import vm
from connector.errors import ConnectorError, catalogue

EPILOG = "Exit codes: " + ", ".join(
    f"{code} {name}"
    for code, name in sorted(
        {kind.exit_code: kind.__name__ for kind in reversed(catalogue().values())}.items() | {(0, "done")}
    )
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=EPILOG)
@click.version_option(__version__, prog_name="connector")
def connector() -> None:
    """Move running virtual machines out of vCenter without installing anything in a guest, and prove it.

    \b
    connector demo                          two simulated machines, migrated while they write
    connector vm list  --vcenter URL ...    what is there
    connector vm check --vcenter URL ...    what stands in the way
    connector migrate web-01 --vcenter URL --thumbprint AA:BB:.. --vddk DIR --to DIR
    """


connector.add_command(demo)
connector.add_command(migrate)
connector.add_command(vm)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the value is the process's exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        connector.main(args=words, standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as refused:
        refused.show()
        return refused.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("connector: stopped; running the same command again resumes", err=True)
        return 130
    except ConnectorError as failed:
        if "--json" in words:
            click.echo(json.dumps(failed.to_json()))
        click.echo(f"connector: {failed}", err=True)
        return failed.exit_code
    except Exception as unforeseen:  # noqa: BLE001 - the outer door
        click.echo(
            f"connector: unforeseen {type(unforeseen).__name__}: {unforeseen}; this is a defect, please report it",
            err=True,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
