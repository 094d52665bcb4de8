"""`python -m tests.faults.control`: the real control plane, whose instances are reached through the test's relay."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

from connector import child, files
from connector.cloud.local import LocalProvider
from connector.cloud.provider import Instance
from connector.control.plane import Options, run
from connector.errors import ConnectorError


class Translated(LocalProvider):
    """Like a cloud that translates addresses: callers see the relay's; where the instance really is stands in a file."""

    def __init__(self, root: Path, relay: str, target: Path) -> None:
        super().__init__(root)
        self._relay, self._target = relay, target

    def find(self, token: str) -> Instance | None:
        found = super().find(token)
        if found is None:
            return None
        files.replace(self._target, found.address.host.encode())
        return replace(found, address=replace(found.address, host=self._relay))


def main() -> int:
    told = json.loads(sys.argv[1])
    provider = Translated(Path(told["images"]), told["relay"], Path(told["target"]))
    options = Options(
        Path(told["state"]), port=told["port"], exit_with_stdin=True, grace=told["grace"], interval=0.5
    )
    try:
        run(options, lambda _ledger: provider)
    except ConnectorError as failed:
        child.report_failure(failed)
        return failed.exit_code
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
