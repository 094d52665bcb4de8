"""The official SDKs are imported only when the first provider is made."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from connector.errors import BadInput


@dataclass(frozen=True, slots=True)
class SdkService:
    """One API of the cloud: `models` and the class of its client."""

    models: Any
    client: Any

    def request(self, operation: str, parameters: dict[str, Any]) -> Any:
        """The typed request of an operation, from the API's own names. An unknown name is a defect of ours."""
        typed = getattr(self.models, f"{operation}Request")().from_map(parameters)
        if not _kept(parameters, typed.to_map()):
            raise AssertionError(f"{operation} does not have all of the parameters {sorted(parameters)}")
        return typed

    @staticmethod
    def method(operation: str) -> str:
        """The SDK's name of an operation: DescribeVSwitches is describe_vswitches."""
        plain = operation.replace("VSwitch", "Vswitch")
        return re.sub(r"(?<!^)(?=[A-Z])", "_", plain).lower() + "_with_options"


def _kept(parameters: Any, typed: Any) -> bool:
    """Whether everything that was given arrived; the SDK drops what it does not know in silence."""
    if isinstance(parameters, dict):
        return all(name in typed and _kept(value, typed[name]) for name, value in parameters.items())
    if isinstance(parameters, list):
        return len(parameters) == len(typed) and all(
            _kept(*pair) for pair in zip(parameters, typed, strict=True)
        )
    return bool(parameters == typed)


@dataclass(frozen=True, slots=True)
class Sdk:
    """The parts of the SDKs that are used."""

    ecs: SdkService
    vpc: SdkService
    config: Any
    options: Any
    refused: Any  # the exception that carries a code

    def failure(self, error: Exception) -> tuple[str, int, str, str] | None:
        """Code, status, message and request of a refusal; None if the server did not answer."""
        if not isinstance(error, self.refused) or not getattr(error, "status_code", None):
            return None
        data = getattr(error, "data", None) or {}
        message = str(data.get("Message") or data.get("message") or error)
        return str(error.code), int(error.status_code), message, str(getattr(error, "request_id", ""))


def load() -> Sdk:
    """Import the SDKs. Raises BadInput if they are not installed."""
    try:
        from alibabacloud_ecs20140526 import models as ecs_models
        from alibabacloud_ecs20140526.client import Client as EcsClient
        from alibabacloud_tea_openapi.models import Config
        from alibabacloud_vpc20160428 import models as vpc_models
        from alibabacloud_vpc20160428.client import Client as VpcClient
        from darabonba.runtime import RuntimeOptions
        from Tea.exceptions import TeaException
    except ImportError as absent:
        raise BadInput(
            f"the SDK of Alibaba Cloud is not installed ({absent.name} is missing)",
            on="provider alibaba",
            remedy="pip install 'agentless-connector[alibaba]'",
        ) from None
    return Sdk(
        SdkService(ecs_models, EcsClient),
        SdkService(vpc_models, VpcClient),
        Config,
        RuntimeOptions,
        TeaException,
    )
