"""Why cutovers do not begin: a reason that passes is said once, and one that lasts is the failure of its machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from connector.errors import ConnectorError


class Refusals:
    """What the control plane answered to one cutover of a wave."""

    def __init__(self, told: Callable[[str], None]) -> None:
        self._told = told
        self._reasons: dict[str, str] = {}  # why something does not begin yet, as it was said last
        self._lasting: dict[str, str] = {}  # by job

    def passing(self, name: str, refused: ConnectorError) -> None:
        """Say why nothing begins now, once for each reason."""
        reason = " - ".join(filter(None, (refused.what, refused.remedy)))
        if self._reasons.get(name) != reason:
            self._reasons[name] = reason
            self._told(f"{name}: not yet: {reason}")

    def lasting(self, name: str, jobs: Iterable[str], refused: ConnectorError) -> None:
        """Record a refusal that no waiting ends, for the jobs of these ids."""
        self._lasting |= dict.fromkeys(jobs, str(refused))
        self._told(f"{name}: refused: {refused}")

    def why(self, job: str) -> str:
        """Why the cutover of this job is refused for good; empty if it is not."""
        return self._lasting.get(job, "")
