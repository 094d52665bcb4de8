"""Checks of each network card (N1, N3)."""

from __future__ import annotations

from connector.model import Nic
from connector.vcenter.checks.rule import INFO, WARN, CheckContext, Rule, when


def _segment(nic: Nic, around: CheckContext) -> str:
    """NSX shows its segments as networks of their own kind, or as port groups of a distributed switch."""
    name = around.segments.get(nic.network)
    if nic.backing != "OpaqueNetwork" and name is None:
        return ""
    return f"it is on an NSX segment ({name or nic.network})"


RULES: tuple[Rule[Nic], ...] = (
    Rule(
        "N1",
        "ordinary network",
        WARN,
        "VirtualEthernetCard.backing, DistributedVirtualPortgroup.config.backingType",
        _segment,
        "its rules and addresses live in NSX: plan them at the target",
    ),
    Rule(
        "N1",
        "attached",
        WARN,
        "VirtualEthernetCard.backing",
        lambda n, _: when(not n.backing, "it is attached to no network"),
        "attach it, or remove it: the target gets a card for it",
    ),
    Rule(
        "N3",
        "connected at start",
        INFO,
        "connectable.startConnected",
        lambda n, _: when(not n.start_connected, "it is not connected when the machine starts"),
        "the target's card is connected: detach it there if that is not wanted",
    ),
)
