"""A control plane as a child process, reached over HTTPS by the unmodified official SDKs."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
import requests
from alibabacloud_smc20190601.client import Client
from alibabacloud_tea_openapi.models import Config, OpenApiRequest, Params
from aliyunsdkcore.client import AcsClient
from darabonba.runtime import RuntimeOptions

from connector.clients import signature
from connector.control.domain.access import Role
from connector.control.state.access_keys import AccessKeys
from connector.control.state.vault import Vault
from connector.control.store import Store
from connector.model import Machine
from tests.control.conftest import Plane, Robot, machine
from tests.waiting import PATIENCE

REGION = "cn-hangzhou"


class Cloud:
    """The control plane under test, keys of every role, and clients of both generations."""

    def __init__(self, plane: Plane, database: str = "") -> None:
        self.plane = plane
        self.state = plane.root / "state"
        self.database = database or f"sqlite:///{self.state / 'control.sqlite'}"
        self.certificate = self.state / "control.crt"
        self.host = plane.url.removeprefix("https://")
        self.keys = {role: self.new_key(role) for role in Role}
        self.session = requests.Session()

    def new_key(self, role: Role) -> tuple[str, str]:
        store = Store(self.database)
        key, secret = AccessKeys(store.keys, Vault(self.state / "vault-key")).create(f"test {role}", role)
        store.close()
        return key.id, secret

    def client(self, role: Role = Role.ADMIN, **changes: Any) -> Client:
        """The current SDK."""
        key, secret = self.keys[role]
        settings = {
            "access_key_id": key,
            "access_key_secret": secret,
            "endpoint": self.host,
            "ca": str(self.certificate),
        }
        return Client(Config(**(settings | changes)))

    def old(self, role: Role = Role.ADMIN, secret: str = "") -> AcsClient:
        """The SDK before it."""
        key, own = self.keys[role]
        port = int(self.host.rpartition(":")[2])
        return AcsClient(
            key, secret or own, REGION, port=port, verify=str(self.certificate), timeout=PATIENCE
        )

    def by_sdk(self, action: str, query: dict[str, str], role: Role = Role.ADMIN) -> dict[str, Any]:
        """A call by name with the current SDK, for what it has no class or no field for; answers the body."""
        call = Params(
            action=action,
            version="2019-06-01",
            protocol="HTTPS",
            method="POST",
            pathname="/",
            auth_type="AK",
            style="RPC",
            req_body_type="formData",
            body_type="json",
        )
        answer = self.client(role).call_api(call, OpenApiRequest(query=query), RuntimeOptions())
        return dict(answer["body"])

    def raw(
        self,
        action: str,
        parameters: dict[str, str],
        role: Role = Role.ADMIN,
        method: str = "POST",
        **changes: str,
    ) -> requests.Response:
        """A request signed here, so that anything can be wrong with it."""
        key, secret = self.keys[role]
        given = {
            "Action": action,
            "Version": "2019-06-01",
            "Format": "JSON",
            "Timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "SignatureNonce": uuid.uuid4().hex,
            "SignatureMethod": "HMAC-SHA1",
            "SignatureVersion": "1.0",
            "AccessKeyId": key,
        }
        given = {name: value for name, value in (given | parameters | changes).items() if value is not None}
        text = signature.string_to_sign_v1(method, given)
        given.setdefault("Signature", signature.sign(signature.V1, secret, text))
        query = "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in given.items())
        return self.session.request(
            method, f"{self.plane.url}/?{query}", verify=str(self.certificate), timeout=PATIENCE
        )

    def signed_v3(self, action: str, form: bytes, **changes: str) -> requests.Response:
        """The newer dialect with its parameters in a form; `changes` are headers."""
        key, secret = self.keys[Role.ADMIN]
        headers = {
            "content-type": "application/x-www-form-urlencoded",
            "host": self.host,
            "x-acs-action": action,
            "x-acs-content-sha256": hashlib.sha256(form).hexdigest(),
            "x-acs-date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "x-acs-signature-nonce": uuid.uuid4().hex,
            "x-acs-version": "2019-06-01",
        }
        request = signature.Request("POST", "/", {}, {}, headers, form)
        digest = hashlib.sha256(signature.canonical_request(request, sorted(headers)).encode()).hexdigest()
        signed = signature.sign(signature.V3, secret, f"{signature.V3}\n{digest}")
        names = ";".join(sorted(headers))
        headers["authorization"] = f"{signature.V3} Credential={key},SignedHeaders={names},Signature={signed}"
        return self.session.post(
            f"{self.plane.url}/",
            form,
            headers=headers | changes,
            verify=str(self.certificate),
            timeout=PATIENCE,
        )

    def sources(self, *machines: Machine) -> tuple[Robot, dict[str, str]]:
        """Machines of a vCenter of their own; answers its appliance, not yet working, and name -> source id."""
        vcenter = f"https://{uuid.uuid4().hex[:12]}"
        robot = Robot(self.plane, self.plane.enrol(vcenter[8:], vcenter))
        ids = robot.register(*machines)
        return robot, {found.name: ids[found.moref] for found in machines}

    def source(self, disks: int = 2) -> str:
        """One source that nobody else uses."""
        name = fresh("vm")
        return self.sources(machine("vm-1", name, disks))[1][name]


def fresh(prefix: str = "n") -> str:
    """A name that nobody else uses."""
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """One for all tests of this folder: each has sources and names of its own."""
    root: Path = tmp_path_factory.mktemp("cloud")
    (root / "gates").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAKE_GATES", str(root / "gates"))
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
            patch.delenv(name, raising=False)
        plane = Plane(root)
        yield Cloud(plane)
        plane.kill()
