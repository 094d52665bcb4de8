"""ServiceInstance, SessionManager and OptionManager: logins, sessions, and the server's settings."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from simulator.vcenter import internal
from simulator.vcenter.api import make, vim, vmodl
from simulator.vcenter.kinds import Call, Kind, View
from simulator.vcenter.sessions import COOKIE

VERSION = "vim.version.v8_0_3_0"
IDLE_SETTING = "config.vmacore.soap.sessionTimeout"

MANAGERS: dict[str, Any] = {
    "propertyCollector": vmodl.query.PropertyCollector("propertyCollector"),
    "viewManager": vim.view.ViewManager("ViewManager"),
    "setting": vim.option.OptionManager("VpxSettings"),
    "sessionManager": vim.SessionManager("SessionManager"),
    "authorizationManager": vim.AuthorizationManager("AuthorizationManager"),
    "eventManager": vim.event.EventManager("EventManager"),
    "taskManager": vim.TaskManager("TaskManager"),
    "extensionManager": vim.ExtensionManager("ExtensionManager"),
    "customFieldsManager": vim.CustomFieldsManager("CustomFieldsManager"),
    "searchIndex": vim.SearchIndex("SearchIndex"),
    "virtualDiskManager": vim.VirtualDiskManager("virtualDiskManager"),
    "fileManager": vim.FileManager("FileManager"),
    "diagnosticManager": vim.DiagnosticManager("DiagMgr"),
    "vStorageObjectManager": vim.vslm.vcenter.VStorageObjectManager("VStorageObjectManager"),
    "perfManager": vim.PerformanceManager("PerfMgr"),
    "licenseManager": vim.LicenseManager("LicenseManager"),
}


def about(view: View | Call) -> Any:
    """AboutInfo of this vCenter."""
    known = view.center.estate.inventory.about
    return make(
        vim.AboutInfo,
        name=known.name,
        fullName=known.full_name,
        vendor=known.vendor,
        version=known.version,
        patchLevel="00000",
        build=known.build,
        localeVersion="INTL",
        localeBuild="000",
        osType=known.os_type,
        productLineId=known.product_line_id,
        apiType=known.api_type,
        apiVersion=known.api_version,
        instanceUuid=known.instance_uuid or view.center.instance_uuid,
        licenseProductName="VMware VirtualCenter Server",
        licenseProductVersion="8.0",
    )


def _content(view: View | Call) -> Any:
    root = vim.Folder(view.center.index.root.moref)
    return make(vim.ServiceInstanceContent, rootFolder=root, about=about(view), **MANAGERS)


def _clock(view: View | Call) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=view.center.estate.timing.clock_ahead)


INSTANCE = Kind(
    vim.ServiceInstance,
    {
        "content": _content,
        "capability": lambda _view: make(vim.Capability, provisioningSupported=True, multiHostSupported=True),
        "serverClock": lambda view: _clock(view),
    },
    {
        "RetrieveServiceContent": _content,
        "RetrieveInternalContent": internal.content,
        "CurrentTime": lambda call: _clock(call),
        "QueryVMotionCompatibility": lambda _call: [],
    },
    frozenset({"serverClock"}),
)


def _give(call: Call, session: Any) -> Any:
    call.cookies[COOKIE] = session.cookie
    return session.describe()


def _login(call: Call) -> Any:
    if call.session is not None:
        raise vim.fault.InvalidLogin(msg="The session is already logged in.")
    opened = call.center.sessions.login(
        call["userName"], call["password"], call.address, call.agent, call["locale"]
    )
    return _give(call, opened)


def _logout(call: Call) -> None:
    if call.session is not None:
        call.center.sessions.end(call.session)


def _is_active(call: Call) -> bool:
    known = call.center.sessions.with_key(call["sessionID"])
    return known is not None and known.user.lower() == call["userName"].lower()


def _acquire_ticket(call: Call) -> str:
    return call.center.sessions.ticket(call.opened)


def _service_ticket(call: Call) -> Any:
    """A ticket for the HTTP request that the spec describes."""
    spec = call["spec"]
    if not isinstance(spec, vim.SessionManager.HttpServiceRequestSpec):
        raise vmodl.fault.NotSupported(msg="Only tickets for HTTP requests are given.")
    method = (spec.method or "").removeprefix("http").upper()
    named = urlsplit(spec.url).hostname
    hosts = call.center.estate.inventory.hosts.values()
    host = next((host.moref for host in hosts if host.name.lower() == named), "")
    ticket = call.center.service_tickets.issue(call.opened.user, method, spec.url, host)
    if host and call.center.host_folders is not None:
        call.center.host_folders.port(host)
        named = call.center.host_folders.address  # the name that is in the inventory leads nowhere here
    return make(
        vim.SessionManager.GenericServiceTicket,
        id=ticket.id,
        hostName=named,
        sslThumbprint=call.center.thumbprint,
    )


def _terminate(call: Call) -> None:
    for key in call["sessionId"]:
        if call.session is not None and key == call.session.key:
            raise vmodl.fault.InvalidArgument(
                invalidProperty="sessionId", msg="A session cannot terminate itself."
            )
        known = call.center.sessions.with_key(key)
        if known is None:
            raise vim.fault.NotFound(msg=f"no session {key}")
        call.center.sessions.end(known)


def _current(view: View) -> Any:
    return None if view.session is None else view.session.describe()


SESSIONS = Kind(
    vim.SessionManager,
    {
        "currentSession": _current,
        "sessionList": lambda view: [session.describe() for session in view.center.sessions.all()],
        "defaultLocale": lambda _view: "en",
        "supportedLocaleList": lambda _view: ["en"],
        "messageLocaleList": lambda _view: ["en"],
        "message": lambda _view: "",
    },
    {
        "Login": _login,
        "Logout": _logout,
        "SessionIsActive": _is_active,
        "TerminateSession": _terminate,
        "AcquireCloneTicket": _acquire_ticket,
        "AcquireGenericServiceTicket": _service_ticket,
        "CloneSession": lambda call: _give(
            call, call.center.sessions.clone(call["cloneTicket"], call.address, call.agent)
        ),
        "SetLocale": lambda _call: None,
    },
    frozenset({"currentSession", "sessionList"}),
)


def _query_options(call: Call) -> Any:
    name = call["name"]
    settings = call.center.settings
    if not name:
        matching = settings
    elif name.endswith("."):
        matching = {key: value for key, value in settings.items() if key.startswith(name)}
    else:
        matching = {key: value for key, value in settings.items() if key == name}
    if not matching:
        raise vim.fault.InvalidName(name=name or "", msg=f"No setting is named {name}.")
    return [make(vim.option.OptionValue, key=key, value=value) for key, value in matching.items()]


def _update_options(call: Call) -> None:
    for option in call["changedValue"]:
        if option.key == IDLE_SETTING:
            call.center.sessions.idle_seconds = seconds_in(option.value)
        call.center.settings[option.key] = option.value


def seconds_in(value: Any) -> float:
    """A duration such as 30, "30", "30s", "5m" or "1h". Raises InvalidArgument."""
    text = str(value).strip().lower()
    unit = {"s": 1, "m": 60, "h": 3600}.get(text[-1:], 0)
    try:
        return float(text[:-1]) * unit if unit else float(text)
    except ValueError:
        raise vmodl.fault.InvalidArgument(invalidProperty=IDLE_SETTING, msg=f"not a time: {value}") from None


OPTIONS = Kind(
    vim.option.OptionManager,
    {
        "setting": lambda view: [
            make(vim.option.OptionValue, key=key, value=value) for key, value in view.center.settings.items()
        ],
        "supportedOption": lambda _view: [],
    },
    {"QueryOptions": _query_options, "UpdateOptions": _update_options},
    frozenset({"setting"}),
)
