"""Switches the metrics of a service on. Only who serves them loads what makes and serves their text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from connector.metrics import address
from connector.metrics.samples import Source
from connector.service_manager import ServiceManager


def serve(
    stack: ExitStack,
    role: str,
    listen: str,
    manager: ServiceManager,
    sources: Sequence[Source],
    certificates: Mapping[str, float] | None = None,
) -> str:
    """Serve until `stack` unwinds; answer where. Without `listen` ([HOST:]PORT) nothing is served, and "" is the answer.

    `certificates`: when each of the service's own ends. Raises BadInput, PortInUse.
    """
    if not listen:
        return ""
    from connector.metrics.exposition import Exposition
    from connector.metrics.listener import MetricsListener

    exposition = Exposition(role, manager, certificates or {})
    exposition.add(*sources)
    return stack.enter_context(MetricsListener(address.parse(listen), exposition, manager)).url
