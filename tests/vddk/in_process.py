"""A program: runs every check of the contract with the library in its own process.

usage: python -m tests.vddk.in_process ESTATE INSTALLATION     prints {check: "" or traceback} as JSON
"""

import json
import pickle
import sys
import traceback
from pathlib import Path

from tests.vddk.contract import CHECKS, DEPTH
from tests.vddk.estate import Estate
from vddk.disk import open_in_process
from vddk.loading import stop_library
from vddk.spec import Installation


def main(estate_file: str, directory: str) -> None:
    estate: Estate = pickle.loads(Path(estate_file).read_bytes())
    outcome: dict[str, str] = {}
    for name, check in CHECKS.items():
        try:
            with open_in_process(Installation(Path(directory)), estate.spec(), DEPTH) as disk:
                check(disk, estate)
            outcome[name] = ""
        except Exception:  # noqa: BLE001  the outer door: every failure is an outcome
            outcome[name] = traceback.format_exc()
    stop_library()
    print(json.dumps(outcome))


if __name__ == "__main__":
    main(*sys.argv[1:])
