"""What people do to an intermediate instance that nobody may touch, each with a code of its own."""

from __future__ import annotations

from typing import ClassVar

from connector.errors import TargetFailed


class _Touched(TargetFailed):
    """Crosses borders as a TargetFailed; the job shows `code`."""

    code: ClassVar[str]

    @property
    def id(self) -> str:
        return TargetFailed.__name__

    def to_json(self) -> dict[str, object]:
        return super().to_json() | {"code": self.code}


class Released(_Touched):
    """Somebody removed the intermediate instance, and with it everything that was transferred."""

    code = "TransitionInstance.Released"

    def __init__(self, *, on: str) -> None:
        super().__init__(
            "the intermediate instance was released by somebody else",
            on=on,
            remedy="delete this job and create a new one",
            retryable=False,
        )


class Stopped(_Touched):
    """Somebody stopped the intermediate instance, and it cannot be started again now."""

    code = "TransitionInstance.Stopped"

    def __init__(self, why: TargetFailed, *, on: str) -> None:
        where = f"{why.on}: " if why.on else ""
        super().__init__(
            f"the intermediate instance was stopped by somebody else and cannot be started: {where}{why.what}",
            on=on,
            remedy=why.remedy or "start the job again",
            retryable=False,
        )
