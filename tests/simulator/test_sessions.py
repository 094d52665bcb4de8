"""Coming in, staying in, being thrown out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import requests
from pyVim.connect import Disconnect
from pyVmomi import vim, vmodl

from simulator.estate.estate import Estate
from simulator.vcenter import Options, Server, serve
from simulator.vcenter.encode import escape
from tests.simulator.conftest import ACCOUNTS, PASSWORD, USER, connect, eventually
from tests.waiting import PATIENCE

_ENVELOPE = (
    '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body>{}'
    "</soapenv:Body></soapenv:Envelope>"
)


def post(server: Server, body: str, **headers: str) -> requests.Response:
    return requests.post(
        server.url,
        data=_ENVELOPE.format(body).encode(),
        headers={"SOAPAction": '"urn:vim25/8.0.3.0"', "Content-Type": "text/xml", **headers},
        verify=str(server.certificate),
        timeout=PATIENCE,
    )


def login(server: Server) -> requests.Response:
    return post(
        server,
        '<Login xmlns="urn:vim25"><_this type="SessionManager">SessionManager</_this>'
        f"<userName>{USER}</userName><password>{escape(PASSWORD)}</password></Login>",
    )


def sessions_on_disk(estate: Estate) -> set[str]:
    return {path.name for path in (estate.export.root / "sessions").iterdir()}


@pytest.mark.parametrize(
    ("user", "password"), [(USER, "wrong"), ("nobody@vsphere.local", PASSWORD), (USER, "")]
)
def test_wrong_credentials_are_refused_in_the_same_words(server: Server, user: str, password: str) -> None:
    with pytest.raises(vim.fault.InvalidLogin) as caught:
        connect(server, user, password)
    assert "incorrect user name or password" in caught.value.msg


def test_user_names_ignore_case(server: Server) -> None:
    instance = connect(server, USER.upper())
    assert instance.content.sessionManager.currentSession.userName == USER.upper()
    Disconnect(instance)


def test_about_needs_no_login_but_anything_else_does(server: Server) -> None:
    about = post(
        server,
        '<RetrieveServiceContent xmlns="urn:vim25"><_this type="ServiceInstance">ServiceInstance</_this>'
        "</RetrieveServiceContent>",
    )
    assert about.status_code == 200
    assert "<apiVersion>8.0.3.0</apiVersion>" in about.text
    now = post(
        server,
        '<CurrentTime xmlns="urn:vim25"><_this type="ServiceInstance">ServiceInstance</_this></CurrentTime>',
    )
    assert now.status_code == 500
    assert 'xsi:type="NotAuthenticated"' in now.text


def test_the_cookie_is_quoted_secure_and_known_to_the_disks(server: Server, estate: Estate) -> None:
    answer = login(server)
    header = answer.headers["Set-Cookie"]
    match = re.fullmatch(
        r'vmware_soap_session="([0-9a-f]{40})"; Path=/; HttpOnly; Secure; SameSite=Lax', header
    )
    assert match is not None, header
    assert match[1] in sessions_on_disk(estate)
    assert match[1] not in answer.text, "the cookie is a secret, the key is not"
    for cookie in (f'vmware_soap_session="{match[1]}"', f"vmware_soap_session={match[1]}", header):
        body = '<Logout xmlns="urn:vim25"><_this type="SessionManager">SessionManager</_this></Logout>'
        time = body.replace("Logout", "CurrentTime").replace("SessionManager", "ServiceInstance")
        assert post(server, time, Cookie=cookie).status_code == 200
    assert post(server, body, Cookie=header).status_code == 200
    assert match[1] not in sessions_on_disk(estate)
    assert post(server, time, Cookie=header).status_code == 500


def test_logout_ends_the_session(server: Server) -> None:
    instance = connect(server)
    manager = instance.content.sessionManager
    manager.Logout()
    with pytest.raises(vim.fault.NotAuthenticated):
        instance.CurrentTime()


def test_a_terminated_session_is_not_authenticated(server: Server) -> None:
    first, second = connect(server), connect(server)
    key = second.content.sessionManager.currentSession.key
    manager = first.content.sessionManager
    assert manager.SessionIsActive(key, USER) is True
    assert key in [session.key for session in manager.sessionList]
    manager.TerminateSession([key])
    assert manager.SessionIsActive(key, USER) is False
    with pytest.raises(vim.fault.NotAuthenticated) as caught:
        second.CurrentTime()
    assert caught.value.privilegeId == "System.View"
    with pytest.raises(vim.fault.NotFound):
        manager.TerminateSession([key])
    with pytest.raises(vmodl.fault.InvalidArgument):
        manager.TerminateSession([manager.currentSession.key])


def test_an_idle_session_expires_and_a_used_one_does_not(estate: Estate) -> None:
    with serve(estate, accounts=ACCOUNTS, options=Options(session_timeout=5.0)) as server:
        idle, used = connect(server), connect(server)
        before = sessions_on_disk(estate)
        assert len(before) == 2

        def one_left() -> bool:
            used.CurrentTime()
            return len(sessions_on_disk(estate)) == 1

        assert eventually(one_left)
        with pytest.raises(vim.fault.NotAuthenticated):
            idle.CurrentTime()
        assert used.CurrentTime() is not None


def test_the_idle_time_can_be_set_through_the_option_manager(client: Any, server: Server) -> None:
    name = "config.vmacore.soap.sessionTimeout"
    setting = client.content.setting
    assert setting.QueryOptions(name)[0].value == "1800s"
    setting.UpdateOptions([vim.option.OptionValue(key=name, value="3s")])
    assert server.center.sessions.idle_seconds == 3
    with pytest.raises(vim.fault.InvalidName):
        setting.QueryOptions("no.such.setting")


def test_a_clone_ticket_opens_one_session(server: Server, client: Any) -> None:
    ticket = client.content.sessionManager.AcquireCloneTicket()
    other = connect(server)
    manager = other.content.sessionManager
    manager.Logout()
    cloned = manager.CloneSession(ticket)
    assert cloned.userName == USER
    assert other.CurrentTime() is not None
    with pytest.raises(vim.fault.InvalidLogin):
        manager.CloneSession(ticket)


def test_the_certificate_and_its_thumbprint_outlive_a_restart(tmp_path: Path, estate: Estate) -> None:
    with serve(estate, accounts=ACCOUNTS) as first:
        pass
    with serve(estate, accounts=ACCOUNTS) as second:
        assert second.thumbprint == first.thumbprint
        assert f"thumbprint={first.thumbprint}" in (estate.export.root / "access").read_text()
        assert PASSWORD in (estate.export.root / "access").read_text()
        assert PASSWORD not in repr(second)
