"""One sweep reads the whole inventory. A machine whose properties are missing is listed with those that are there."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from operator import attrgetter

from connector.errors import Ambiguous, NotFound
from connector.model import Inventory, Machine
from connector.vcenter.answer import PropertyRow
from connector.vcenter.machines import MACHINE, Context, Draft, draft, machine, placed, snapshot_nodes
from connector.vcenter.places import AROUND, FOLDERS, Places
from connector.vcenter.properties import glance, stream
from connector.vcenter.session import Session
from connector.vcenter.values import each, moref, number, plain, text
from connector.vcenter.vmomi import vim

__all__ = ["IDENTITY", "MACHINE", "find", "machine", "machines", "refresh", "snapshot_nodes", "whole"]

IDENTITY = ("name", "parent", "parentVApp", "config.uuid", "config.instanceUuid")

_MOREF = re.compile(r"vm-\d+")


def machines(session: Session) -> tuple[Machine, ...]:
    """Every virtual machine that the user may see, templates included, ordered by inventory path."""
    return whole(session).machines


def whole(session: Session) -> Inventory:
    """Machines and everything around them, in one sweep."""
    paths = {vim.VirtualMachine: MACHINE} | _typed(FOLDERS) | _typed(AROUND)
    rows = stream(session, paths, _kept)
    places = _places(session, [row for row in rows if isinstance(row, PropertyRow)])
    context = Context(places, _attributes(session))
    drafts = (placed(row, context) for row in rows if isinstance(row, Draft))
    machines = tuple(sorted(drafts, key=lambda machine: (machine.path, machine.moref)))
    return replace(_around(places), machines=machines)


def _around(places: Places) -> Inventory:
    return Inventory(
        machines=(),
        hosts=places.hosts(),
        datastores=places.datastores(),
        networks=places.networks(),
        clusters=places.clusters(),
        folders=places.folders(),
    )


def surroundings(session: Session) -> Inventory:
    """Everything around machines, and no machine."""
    places = _places(session, stream(session, _typed(FOLDERS) | _typed(AROUND), lambda row: row))
    return _around(places)


def find(session: Session, phrase: str) -> Machine:
    """The one machine with that moref, instance UUID, inventory path or name."""
    if _MOREF.fullmatch(phrase):
        with suppress(NotFound):  # it may still be a name
            return refresh(session, phrase)
    rows = stream(session, {vim.VirtualMachine: IDENTITY} | _typed(FOLDERS), lambda row: row)
    places = _places(session, rows)
    candidates = [row for row in rows if row.kind == "VirtualMachine"]
    for matches in _MATCHERS:
        hits = [row for row in candidates if matches(row, phrase, places)]
        if len(hits) == 1:
            return refresh(session, hits[0].moref)
        if hits:
            raise _ambiguous(phrase, hits, places)
    raise NotFound(
        "no machine has that name, inventory path, instance UUID or moref",
        on=phrase,
        remedy="list the machines; the user may lack the right to see it",
    )


def refresh(session: Session, machine_moref: str) -> Machine:
    """Read one machine again by its moref; raises `NotFound` when it is gone."""
    places = _places(session, stream(session, _typed(FOLDERS) | _typed(AROUND), lambda row: row))
    row = glance(session, session.managed(vim.VirtualMachine, machine_moref), MACHINE, on=machine_moref)
    return machine(row, Context(places, _attributes(session)))


def _kept(row: PropertyRow) -> PropertyRow | Draft:
    return draft(row) if row.kind == "VirtualMachine" else row


def _typed(properties: Mapping[str, Sequence[str]]) -> dict[object, Sequence[str]]:
    return {attrgetter(kind)(vim): paths for kind, paths in properties.items()}


def _places(session: Session, rows: Sequence[PropertyRow]) -> Places:
    root = moref(session.content.rootFolder)
    return Places([row for row in rows if row.kind != "VirtualMachine"], root)


def _attributes(session: Session) -> dict[int, str]:
    """The names of custom attributes by key; empty where there are none, or they may not be seen."""
    if (keeper := session.content.customFieldsManager) is None:
        return {}
    row = glance(session, keeper, ("field",), on="custom attributes")
    return {number(definition.key): text(definition.name) for definition in each(row.get("field"))}


def _ambiguous(phrase: str, hits: Sequence[PropertyRow], places: Places) -> Ambiguous:
    listed = ", ".join(f"{places.path(row)} ({row.moref})" for row in hits[:8])
    more = f" and {len(hits) - 8} more" if len(hits) > 8 else ""
    return Ambiguous(
        f"{len(hits)} machines answer to it: {listed}{more}",
        on=phrase,
        remedy="use the moref or the inventory path",
    )


_MATCHERS: tuple[Callable[[PropertyRow, str, Places], bool], ...] = (
    lambda row, phrase, _: row.moref == phrase,
    lambda row, phrase, _: text(row.get("config.instanceUuid")).lower() == phrase.lower() != "",
    lambda row, phrase, places: phrase.startswith("/") and places.path(row) == phrase.rstrip("/"),
    lambda row, phrase, _: phrase in (text(row.get("name")), plain(text(row.get("name")))),
    lambda row, phrase, _: plain(phrase) == plain(text(row.get("name"))),
)
