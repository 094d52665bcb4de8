"""A managed object is table data: its API type, its properties, its methods. One file per kind fills the
tables.

A property that the API has and the table has not is unset; a method that the API has and the table has not
answers NotSupported; what the API has not is an InvalidProperty or MethodNotFound fault.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from simulator.vcenter.api import name_of, vim

if TYPE_CHECKING:
    from simulator.vcenter.center import Center
    from simulator.vcenter.sessions import Session


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
    """From where a property is read: some properties depend on who asks (the current session)."""

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
    """One managed object: its kind, its moref and what stands behind it (an entity, a view, a task)."""

    kind: Kind
    moref: str
    subject: Any

    @property
    def reference(self) -> Any:
        return self.kind.type(self.moref)
