"""`choose` makes the provider of the configured target cloud. A new cloud is one more line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from connector.cloud.addresses import PortRange
from connector.cloud.alibaba.limits import LIMITS as ALIBABA
from connector.cloud.local import LIMITS as LOCAL
from connector.cloud.local import LocalProvider
from connector.cloud.provider import Provider, ProviderLedger
from connector.errors import BadInput
from connector.model import TargetLimits

#: Makes the provider, which records in this ledger what it creates.
ProviderMaker = Callable[[ProviderLedger], Provider]


LIMITS: Final[Mapping[str, TargetLimits]] = {"local": LOCAL, "alibaba": ALIBABA}
NAMES: Final = tuple(LIMITS)


def limits(name: str | None) -> TargetLimits:
    """What the target of that name takes; of no name: what every target takes."""
    chosen = LIMITS.values() if name is None else (LIMITS[name],)
    return TargetLimits(
        min(target.largest_disk for target in chosen),
        min(target.most_disks for target in chosen),
        all(target.secure_boot for target in chosen),
        all(target.sector_4k for target in chosen),
    )


def choose(
    name: str,
    images: Path | None,
    section: Mapping[str, Any] | None,
    source: str,
    state: Path,
    instance_ports: str = "",
) -> ProviderMaker:
    """The maker of the provider. Raises BadInput if a setting is missing; `source` names the place where it belongs.

    `state`: the directory of this control plane. `instance_ports`: where local instances listen; empty: on loopback addresses.
    """
    space = PortRange.parse(instance_ports) if instance_ports else None
    if name == "local":
        if images is None:
            raise BadInput("the local provider needs a place for images", on="--images")
        return lambda _: LocalProvider(images, space=space)
    if section is None:
        raise BadInput(
            "the provider alibaba needs its section", on=source, remedy="see config/control-plane.yaml"
        )
    from connector.cloud.alibaba import settings as alibaba
    from connector.cloud.alibaba.provider import AlibabaProvider

    settings = alibaba.parse(dict(section), f"{source}: alibaba")
    return lambda ledger: AlibabaProvider(settings, ledger, state / "provider")
