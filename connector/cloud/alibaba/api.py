"""Every call to the cloud is signed, bounded, repeated and judged in one place. Calls have the API's own names.

A repetition is always harmless: a call that creates has a client token, and a call that changes a state names an id.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeVar

from connector.backoff import CLOUD, retrying
from connector.cloud.alibaba.codes import Refusal, RefusalEffect
from connector.cloud.alibaba.credentials import CloudAccessKey, Credentials
from connector.cloud.alibaba.sdk import Sdk, SdkService, load
from connector.cloud.alibaba.settings import AlibabaSettings
from connector.errors import TargetFailed

_LOG: Final = logging.getLogger(__name__)
_CONNECT: Final = 10_000  # milliseconds
_READ: Final = 60_000
_PAGE: Final = 50
_PAGES: Final = 400  # of one list: more than any account has of what we ask for
Json = dict[str, Any]
T = TypeVar("T")


class Api:
    """Calls the cloud. Raises `Refusal` if it refuses, a retryable TargetFailed if it does not answer. Thread-safe."""

    def __init__(self, settings: AlibabaSettings, credentials: Credentials) -> None:
        self.settings = settings
        self._credentials = credentials
        credentials.current()  # without a key nothing begins
        self._sdk: Sdk = load()
        self._lock = threading.Lock()
        self._clients: dict[str, tuple[CloudAccessKey, Any]] = {}

    def ecs(
        self, operation: str, parameters: Mapping[str, Any], *, patience: float = 0.0, on: str = ""
    ) -> Json:
        """One call of ECS. `patience`: seconds for which a refusal that passes by itself is tried again."""
        return self._patient(self._sdk.ecs, "ecs", operation, parameters, patience, on)

    def vpc(
        self, operation: str, parameters: Mapping[str, Any], *, patience: float = 0.0, on: str = ""
    ) -> Json:
        """The same for networks."""
        return self._patient(self._sdk.vpc, "vpc", operation, parameters, patience, on)

    def rows(
        self, service: str, operation: str, where: tuple[str, str], parameters: Mapping[str, Any]
    ) -> Iterator[Json]:
        """All rows of a list, page by page. `where`: the two levels that the list is wrapped in."""
        call = self.ecs if service == "ecs" else self.vpc
        last: list[Json] = []
        for number in range(1, _PAGES + 1):
            page = call(operation, {**parameters, "PageNumber": number, "PageSize": _PAGE})
            items = (page.get(where[0]) or {}).get(where[1]) or []
            yield from items
            if len(items) < _PAGE:
                return
            if items == last:
                break
            last = items
        raise TargetFailed(
            f"the list of {operation} does not end ({number} full pages)",
            on=self.settings.region,
            remedy="check the endpoint; if it is the cloud's own, delete what is not needed there",
            retryable=False,
        )

    def until(self, look: Callable[[], T | None], state: str, *, on: str, patience: float | None = None) -> T:
        """The first answer of `look` that is not None. Raises TargetFailed after `patience` seconds."""
        limit = self.settings.patience if patience is None else patience
        deadline = time.monotonic() + limit
        while (result := look()) is None:
            if time.monotonic() > deadline:
                raise TargetFailed(
                    f"did not become {state} within {limit:.0f} s",
                    on=on,
                    remedy="look at it in the console, then start the job again",
                )
            self.pause()
        return result

    def pause(self) -> None:
        """Wait between two looks."""
        time.sleep(self.settings.poll)

    def _patient(
        self,
        service: SdkService,
        name: str,
        operation: str,
        parameters: Mapping[str, Any],
        patience: float,
        on: str,
    ) -> Json:
        deadline = time.monotonic() + patience
        while True:
            try:
                return self._repeated(service, name, operation, parameters, on)
            except Refusal as refused:
                if refused.effect is not RefusalEffect.WAIT or time.monotonic() >= deadline:
                    raise
            self.pause()

    def _repeated(
        self, service: SdkService, name: str, operation: str, parameters: Mapping[str, Any], on: str
    ) -> Json:
        for attempt in retrying(CLOUD, _again, attempts=self.settings.attempts):
            with attempt:
                return self._once(service, name, operation, parameters, on)
        raise AssertionError("unreachable: the last attempt raises")

    def _once(
        self, service: SdkService, name: str, operation: str, parameters: Mapping[str, Any], on: str
    ) -> Json:
        client = self._client(service, name)
        request = service.request(
            operation, {key: value for key, value in parameters.items() if value not in (None, [])}
        )
        options = self._sdk.options(connect_timeout=_CONNECT, read_timeout=_READ)
        try:
            answer = getattr(client, service.method(operation))(request, options)
        except self._sdk.refused as error:
            raise self._translated(error, operation, on) from None
        if answer.body is None:
            raise TargetFailed(
                f"the answer to {operation} cannot be read",
                on=on or operation,
                retryable=True,
                remedy="it is tried again; see the provider's status page when it stays",
            )
        body: Json = answer.body.to_map()
        _LOG.debug("%s: request %s", operation, body.get("RequestId"))
        return body

    def _translated(self, error: Exception, operation: str, on: str) -> TargetFailed:
        refusal = self._sdk.failure(error)
        if refusal is not None:
            return Refusal(operation, *refusal, on=on)
        why, passes = _reason(error)
        return TargetFailed(
            f"Alibaba Cloud did not answer {operation} ({why})",
            on=on or self.settings.region,
            remedy="check the network and the endpoint" if passes else "name the authority of the endpoint",
            retryable=passes,
        )

    def _client(self, service: SdkService, name: str) -> Any:
        """The client of a service. A renewed key gets a new client."""
        key = self._credentials.current()
        with self._lock:
            client = self._clients.get(name)
            if client is None or client[0] != key:
                client = self._clients[name] = (key, service.client(self._config(name, key)))
            return client[1]

    def _config(self, name: str, key: CloudAccessKey) -> Any:
        settings = self.settings
        parameters: Json = {
            "access_key_id": key.id,
            "access_key_secret": key.secret,
            "region_id": settings.region,
            "protocol": "HTTPS",
            "endpoint": settings.endpoint if name == "ecs" else settings.vpc_endpoint,
        }
        if key.token:
            parameters |= {"security_token": key.token, "type": "sts"}
        if settings.authority is not None:
            parameters["ca"] = str(settings.authority)
        return self._sdk.config(**parameters)


def client_token(token: str) -> str:
    """The client token of a call: 64 ASCII characters that follow from our own token, so that a repetition is harmless."""
    return hashlib.sha256(token.encode()).hexdigest()


def _again(error: Exception) -> bool:
    if isinstance(error, Refusal):
        return error.effect is RefusalEffect.AGAIN
    return isinstance(error, TargetFailed) and error.retryable


#: Our words for errors of the transport. Its own words contain the whole request and are never repeated.
_REASONS: Final = (
    ("CERTIFICATE_VERIFY_FAILED", "its certificate is not trusted", False),
    ("timed out", "it timed out", True),
    ("refused", "the connection was refused", True),
    ("resol", "its name is not known", True),
)


def _reason(error: Exception) -> tuple[str, bool]:
    """The reason in our own words, and whether it may pass."""
    text = str(getattr(error, "inner_exception", None) or error)
    for words, reason, passes in _REASONS:
        if words.lower() in text.lower():
            return reason, passes
    return "the connection broke", True
