"""Peers keep this control plane's latest epoch mark. A mark from a peer that the database cannot have made holds the state."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Final

from connector import epoch
from connector.control.state.vault import Vault
from connector.control.store import Store
from connector.control.store.epochs import COMPARE
from connector.control.store.write_count import WritePosition, refusal
from connector.epoch import EpochMark, EpochMemory

_LOG: Final = logging.getLogger(__name__)

#: The file in the state directory with the latest epoch mark.
FILE: Final = "epoch"


def confirm(store: Store, *, keep_credentials: bool = False) -> WritePosition:
    """Confirm a restore, by a person or by the command that owns the state: a new epoch begins and work goes on.

    Taken passes are offered again, because their outcome is unknown.
    """
    point = store.epochs.confirm(keep_credentials=keep_credentials)
    store.pass_ends.lose(lambda _: True, COMPARE)
    _LOG.warning("the restore was confirmed: epoch %s begins", point.number)
    return point


class RestoreDetector:
    """Makes epoch marks and judges those of peers. `memory` is in the state directory: it survives a restored database.

    Thread-safe.
    """

    def __init__(self, store: Store, vault: Vault, memory: EpochMemory) -> None:
        self._store = store
        self._vault = vault
        self._memory = memory
        self._point: WritePosition | None = None

    def look(self) -> str:
        """Why the state is held; empty if it is not. Call it at the start and then regularly."""
        if self._point is None and (mark := self._memory.mark) is not None:
            self._heed(mark, "the state directory")
        self._point = point = self._store.epochs.look()
        if not point.restored and point.sequence:
            self._memory.learn(self._mark(point))
        return point.restored

    def hear(self, text: str, who: str) -> None:
        """Take the mark that `who` keeps. Hold the state if this database cannot have made it."""
        mark = epoch.read(text)
        if mark is not None and not self._is_known(mark):
            self._heed(mark, who)

    def say(self) -> str:
        """The mark that a peer shall keep; empty while the state is held."""
        point = self._point
        return "" if point is None or point.restored or not point.sequence else str(self._mark(point))

    def now(self) -> str:
        """The mark of this moment. Raises `StateRestored` while the state is held."""
        if why := self.look():
            raise refusal(why)
        return self.say()

    def _heed(self, mark: EpochMark, who: str) -> None:
        if not self._vault.proves(mark.body, mark.proof):
            _LOG.warning("%s keeps an epoch mark that this control plane never made; it is ignored", who)
            return
        self._store.epochs.hear(mark, who)

    def _is_known(self, mark: EpochMark) -> bool:
        """Whether it is the last mark that this process made, as it nearly always is."""
        point = self._point
        return point is not None and (point.epoch, point.sequence, point.writer) == (
            mark.epoch,
            mark.sequence,
            mark.writer,
        )

    def _mark(self, point: WritePosition) -> EpochMark:
        mark = EpochMark(point.number, point.sequence, point.epoch, point.writer)
        return replace(mark, proof=self._vault.proof(mark.body))
