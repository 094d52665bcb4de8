"""A managed object is a row of tables: its API type, its properties, its methods. One file for each kind fills them.

A property that only the API has is unset. A method that only the API has answers NotSupported. A property or method that the
API does not have is an InvalidProperty or MethodNotFound fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from simulator.vcenter.api import name_of, vim

if TYPE_CHECKING:
    from datetime import datetime
    from threading import Lock

    from simulator.estate.estate import Estate
    from simulator.estate.inventory import VirtualMachine
    from simulator.nfc import Hosts
    from simulator.vcenter.changes import Changes
    from simulator.vcenter.entities import Index
    from simulator.vcenter.hostile import Variant
    from simulator.vcenter.options import Options
    from simulator.vcenter.pages import Pages
    from simulator.vcenter.service_tickets import ServiceTickets
    from simulator.vcenter.sessions import Session, Sessions


@dataclass(frozen=True, slots=True)
class Call:
    """One call in progress. `session` is None before login; `arguments` holds every parameter by name."""

    center: Center
    session: Session | None
    method: str
    target: Target
    arguments: Mapping[str, Any]
    address: str = ""
    agent: str = ""
    cookies: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.arguments.get(name)

    @property
    def opened(self) -> Session:
        """The session; NotAuthenticated before login."""
        if self.session is None:
            raise vim.fault.NotAuthenticated(
                object=self.target.reference,
                privilegeId="System.View",
                msg="The session is not authenticated.",
            )
        return self.session


@dataclass(frozen=True, slots=True)
class View:
    """The context of reading a property: some properties depend on the session."""

    center: Center
    session: Session | None
    target: Target


Property = Callable[[View], Any]
Method = Callable[[Call], Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """`volatile` properties are read anew each time; the others are kept until their object changes.
    `announced`:
    every change of such an object is marked in `Changes`, so an unmarked one need not be read again.
    """

    type: Any
    properties: Mapping[str, Property] = field(default_factory=dict)
    methods: Mapping[str, Method] = field(default_factory=dict)
    volatile: frozenset[str] = frozenset()
    announced: bool = False

    @property
    def name(self) -> str:
        return name_of(self.type)


@dataclass(frozen=True, slots=True)
class Target:
    """One managed object: its kind, its moref and its subject (an entity, a view, a task)."""

    kind: Kind
    moref: str
    subject: Any

    @property
    def reference(self) -> Any:
        return self.kind.type(self.moref)


class Tasks(Protocol):
    """Long work of vCenter; see `tasks`."""

    def start(
        self, call: Call, work: Callable[[Any], Any], entity: Target | None = None, cancelable: bool = False
    ) -> Any: ...
    def recent(self, moref: str | None = None) -> list[Any]: ...
    def all(self) -> list[Any]: ...


class Authority(Protocol):
    """The rights of users; see `authority`."""

    def has(self, user: str, entity: str, privilege: str) -> bool: ...
    def role_of(self, user: str, entity: str) -> int: ...
    def refusal(self, session: Session | None, target: Target, privilege: str) -> Any | None: ...
    def demand(self, session: Session | None, target: Target, privilege: str) -> None: ...
    def roles(self) -> list[Any]: ...
    def add_role(self, name: str, privileges: Iterable[str]) -> int: ...
    def remove_role(self, number: int) -> None: ...
    def permissions(self, entity: str | None = None) -> list[Any]: ...
    def permit(self, entry: Any) -> None: ...
    def revoke(self, entity: str, principal: str) -> None: ...


class HostFolders(Protocol):
    """The hosts as servers of files; see `host_folders`."""

    @property
    def address(self) -> str: ...
    def port(self, host: str) -> int: ...


class Views(Protocol):
    """Views of the inventory; see `views`."""

    def add(self, kind: Kind, view: Any) -> Any: ...
    def of_session(self, key: str) -> list[Any]: ...
    def destroy(self, moref: str) -> None: ...


class Collectors(Protocol):
    """Property collectors of sessions; see `filters`."""

    def default(self, session: Session) -> Any: ...
    def create(self, session: Session) -> Any: ...
    def destroy(self, collector: Any) -> None: ...


class Center(Protocol):
    """The vCenter as its managed objects see it; `center` puts it together."""

    @property
    def estate(self) -> Estate: ...
    @property
    def options(self) -> Options: ...
    @property
    def thumbprint(self) -> str: ...
    @property
    def started(self) -> datetime: ...
    @property
    def instance_uuid(self) -> str: ...
    @property
    def closing(self) -> bool: ...
    @property
    def naming(self) -> Lock: ...
    @property
    def changes(self) -> Changes: ...
    @property
    def index(self) -> Index: ...
    @property
    def pages(self) -> Pages: ...
    @property
    def sessions(self) -> Sessions: ...
    @property
    def service_tickets(self) -> ServiceTickets: ...
    @property
    def host_folders(self) -> HostFolders | None: ...
    @property
    def authority(self) -> Authority: ...
    @property
    def tasks(self) -> Tasks: ...
    @property
    def views(self) -> Views: ...
    @property
    def collectors(self) -> Collectors: ...
    @property
    def settings(self) -> dict[str, Any]: ...
    @property
    def extensions(self) -> dict[str, Any]: ...
    @property
    def custom_fields(self) -> dict[int, Any]: ...
    @property
    def custom_values(self) -> dict[str, dict[int, str]]: ...
    @property
    def extra(self) -> dict[str, Target]: ...
    @property
    def hostile(self) -> dict[str, dict[str, Variant]]: ...
    @property
    def placed(self) -> dict[str, str]: ...
    @property
    def nfc(self) -> Hosts | None: ...

    def locate(self, reference: Any) -> Target: ...
    def find(self, reference: Any) -> Target | None: ...
    def reference(self, moref: str) -> Any: ...
    def read(self, target: Target, name: str, session: Session | None) -> Any: ...
    def entity_of(self, target: Target) -> str | None: ...
    def name_of(self, target: Target) -> str: ...
    def disk_bytes(self, vm: VirtualMachine) -> dict[str, int]: ...
    def file_sizes(self, vm: VirtualMachine) -> dict[str, int]: ...
    def free_space(self, datastore: str) -> int: ...
