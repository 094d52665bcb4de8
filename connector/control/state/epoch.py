"""What this control plane says of how far it is, and what it makes of what others remember of that."""

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

#: The file in the state directory that remembers how far the database was.
FILE: Final = "epoch"


def confirm(store: Store, *, keep_credentials: bool = False) -> WritePosition:
    """A person, or the command whose own state it is, knows that the state was restored: work goes on.

    Passes that the database believes to be read are offered anew: nobody knows what became of them.
    """
    point = store.epochs.confirm(keep_credentials=keep_credentials)
    store.passes.lose(lambda _: True, COMPARE)
    _LOG.warning("the restore was confirmed: epoch %s begins", point.number)
    return point


class Keeper:
    """Thread-safe. `memory` is the state directory's own: it outlives the database."""

    def __init__(self, store: Store, vault: Vault, memory: EpochMemory) -> None:
        self._store = store
        self._vault = vault
        self._memory = memory
        self._point: WritePosition | None = None

    def look(self) -> str:
        """Why the state is held; empty when all is well. To be called at the start, and again and again."""
        if self._point is None and (mark := self._memory.mark) is not None:
            self._heed(mark, "the state directory")
        self._point = point = self._store.epochs.look()
        if not point.restored and point.sequence:
            self._memory.learn(self._mark(point))
        return point.restored

    def hear(self, text: str, who: str) -> None:
        """What `who` remembers. The state is held from now on if this database cannot have told it."""
        mark = epoch.read(text)
        if mark is not None and not self._is_known(mark):
            self._heed(mark, who)

    def say(self) -> str:
        """What whoever is spoken to shall remember; empty while the state is held."""
        point = self._point
        return "" if point is None or point.restored or not point.sequence else str(self._mark(point))

    def now(self) -> str:
        """The same, of this very moment. Raises `StateRestored` while the state is held."""
        if why := self.look():
            raise refusal(why)
        return self.say()

    def _heed(self, mark: EpochMark, who: str) -> None:
        if not self._vault.proves(mark.body, mark.proof):
            _LOG.warning("%s remembers an epoch that this control plane never told; it is ignored", who)
            return
        self._store.epochs.hear(mark, who)

    def _is_known(self, mark: EpochMark) -> bool:
        """Whether it is the last that this process said, as nearly always."""
        point = self._point
        return point is not None and (point.epoch, point.sequence, point.writer) == (
            mark.epoch,
            mark.sequence,
            mark.writer,
        )

    def _mark(self, point: WritePosition) -> EpochMark:
        mark = EpochMark(point.number, point.sequence, point.epoch, point.writer)
        return replace(mark, proof=self._vault.proof(mark.body))
