"""Work in a forked process, for tests that kill it: it starts at once, and what it changes in memory goes with it."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable


def code_of(work: Callable[[], object]) -> int:
    """The exit code of a process that does the work: 0, negative for the signal that ended it, 1 for an exception."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else 1
        except BaseException:  # noqa: BLE001 - the test sees the code
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)  # nothing of the test run ends here
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
