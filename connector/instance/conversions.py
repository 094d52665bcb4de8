"""Converts guests on an instance whose disks are copies made for it; one conversion at a time, in a child process with limits.

The record of a conversion is written before its disks are. A record without an end, after a restart, is an interrupted
conversion: nobody knows what is on its disks.
"""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from connector import child, files, private
from connector.cloud import conversion_lines
from connector.errors import BadInput, Conflict, ConnectorError, Interrupted, TargetFailed
from connector.instance.store import DiskStore

_LOG: Final = logging.getLogger(__name__)
MODULE: Final = "connector.conversion"
LONGEST: Final = 4 * 3600.0  # seconds, emulated, for large disks
_START: Final = 60.0  # seconds until the program must have looked for its tools
_STOP: Final = 5.0
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}")
_NEW: Final = "use a new id"
_NETWORKS: Final = ("dhcp", "keep", "none")


@dataclass(frozen=True, slots=True)
class ConversionOrder:
    """What to convert. `disks`: the keys of the machine's disks, the system disk first. `machine`: as in machine.json.

    `network`: dhcp, keep, or none to leave it as it is. `plan_only`: change nothing.
    """

    id: str
    machine: Mapping[str, Any]
    disks: tuple[str, ...]
    network: str
    plan_only: bool = False

    @property
    def key(self) -> str:
        """Two orders with the same key are the same order."""
        row = (self.machine, self.disks, self.network, self.plan_only)
        return json.dumps(row, sort_keys=True)


@dataclass(frozen=True, slots=True)
class Conversion:
    """`state`: running, done, failed, or interrupted when the instance ended meanwhile. `progress`: the last line about it.

    `result`: `conversion` and `refusal`, as the program answers them.
    """

    state: str
    key: str
    progress: str = ""
    result: Mapping[str, Any] | None = None
    error: Mapping[str, object] | None = None

    def to_json(self) -> dict[str, object]:
        return {
            "state": self.state,
            "progress": self.progress,
            "result": self.result,
            "error": self.error,
        }


class Conversions:
    """Thread-safe. `module`: the program that converts."""

    def __init__(self, store: DiskStore, module: str = MODULE) -> None:
        self._store = store
        self._module = module
        self._home = store.directory / "conversions"
        self._lock = threading.Lock()  # guards the records and the thread
        self._thread: threading.Thread | None = None
        self._running = ""  # id of the conversion that runs here
        self._halt = threading.Event()

    def order(self, order: ConversionOrder) -> Conversion:
        """Begin a conversion, or answer what became of it: an order is carried out once.

        Raises BadInput, and Conflict while another one runs or for another order with this id.
        """
        _check(order)
        with self._lock:
            known = self._read(order.id)
            if known is not None:
                if known.key not in ("", order.key):  # empty: the record is damaged
                    raise Conflict("was ordered with other words", on=f"conversion {order.id}", remedy=_NEW)
                return self._now(order.id, known)
            if self._running:
                raise Conflict(
                    f"conversion {self._running} runs", on=f"conversion {order.id}", remedy="wait for its end"
                )
            paths = [self._store.copy(key) for key in order.disks]
            private.directory(self._home)
            conversion = Conversion("running", order.key)
            self._write(order.id, conversion)
            self._running = order.id
            self._thread = threading.Thread(
                target=self._do, args=(order, paths), name=f"conversion {order.id}", daemon=True
            )
            self._thread.start()
            return conversion

    @property
    def running(self) -> str:
        """The id of the conversion that runs here; empty if none does."""
        return self._running

    @property
    def has_any(self) -> bool:
        """Whether a conversion was ever ordered here."""
        return self._home.exists()

    def close(self) -> None:
        """End the conversion under way. Its record says afterwards that it was interrupted."""
        self._halt.set()
        thread = self._thread
        if thread is not None:
            thread.join()

    def _now(self, conversion_id: str, known: Conversion) -> Conversion:
        interrupted = known.state == "running" and conversion_id != self._running
        return replace(known, state="interrupted") if interrupted else known

    def _do(self, order: ConversionOrder, paths: list[Path]) -> None:
        end = Conversion("running", order.key)
        try:
            end = replace(end, state="done", result=self._result(order, paths))
        except Interrupted:
            return  # the record stays as it is: interrupted
        except ConnectorError as failed:
            _LOG.warning("conversion %s failed: %s", order.id, failed)
            end = replace(end, state="failed", error=failed.to_json())
        except Exception as defect:  # noqa: BLE001 - the outermost handler of this thread: the record must show the failure
            _LOG.exception("conversion %s failed", order.id)
            what = f"the instance failed ({type(defect).__name__})"
            unexpected = TargetFailed(
                what, on=f"conversion {order.id}", remedy="see the instance's log"
            ).to_json()
            end = replace(end, state="failed", error=unexpected)
        finally:
            self._end(order.id, end)

    def _end(self, conversion_id: str, end: Conversion) -> None:
        """Record how it ended. If that is not possible it counts as interrupted."""
        with self._lock:
            self._running = ""
            if end.state == "running":
                return
            try:
                self._write(conversion_id, end)
            except OSError as error:
                _LOG.error("the end of conversion %s cannot be recorded: %s", conversion_id, error)

    def _result(self, order: ConversionOrder, paths: list[Path]) -> Mapping[str, Any]:
        scratch = self._home / "scratch"
        private.directory(scratch)
        request = {
            "machine": dict(order.machine),
            "disks": [str(path) for path in paths],
            "network": order.network,
            "plan_only": order.plan_only,
            "scratch": str(scratch),
        }
        name = f"conversion {order.id}"
        with child.start(
            self._module, name=name, configuration={"in_place": request}, timeout=_START
        ) as process:
            try:
                answer = conversion_lines.result(
                    process, LONGEST, self._halt, lambda line: self._tell(order, line)
                )
            finally:
                process.stop(_STOP)
        if not isinstance(answer, dict) or not conversion_lines.is_conversion(answer.get("conversion")):
            raise conversion_lines.broken("the program that converts answered what is no report", name)
        return conversion_lines.shortened(answer)

    def _tell(self, order: ConversionOrder, line: str) -> None:
        with self._lock, suppress(OSError):  # a line is lost, the conversion goes on
            self._write(order.id, Conversion("running", order.key, progress=line))

    def _read(self, conversion_id: str) -> Conversion | None:
        if not _NAME.fullmatch(conversion_id):
            return None
        try:
            row = json.loads((self._home / f"{conversion_id}.json").read_bytes())
            return Conversion(
                str(row["state"]), str(row["key"]), str(row["progress"]), row["result"], row["error"]
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            _LOG.warning("the record of conversion %s is damaged", conversion_id)
            return Conversion("interrupted", "")

    def _write(self, conversion_id: str, conversion: Conversion) -> None:
        row = conversion.to_json() | {"key": conversion.key}
        files.replace(self._home / f"{conversion_id}.json", json.dumps(row).encode())


def _check(order: ConversionOrder) -> None:
    """Raise BadInput for an order that nobody can carry out."""
    if not _NAME.fullmatch(order.id):
        raise BadInput(f"conversion id {order.id[:120]!r} is not allowed")
    if order.network not in _NETWORKS:
        raise BadInput(f"network {order.network[:20]!r} is none of {', '.join(_NETWORKS)}")
    if not order.disks or len(set(order.disks)) < len(order.disks):
        raise BadInput("the disks must be named, each of them once", on=f"conversion {order.id}")
