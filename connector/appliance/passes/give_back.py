"""A pass that cannot go on now is given back; the control plane offers it again after a rest."""

from __future__ import annotations

from connector.errors import Interrupted


class GivenBack(Interrupted):
    """Nothing is lost: what was delivered is kept, and the pass resumes after `rest` seconds."""

    def __init__(self, what: str, *, on: str, rest: float) -> None:
        super().__init__(what, on=on)
        self.rest = rest

    @property
    def id(self) -> str:
        return Interrupted.__name__
