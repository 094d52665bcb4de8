"""Refusals name the option or argument that was typed, for every command that speaks to the public API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
import pytest

from connector.cli import typed
from connector.cli.main import connector as program
from connector.clients.refusal import refused
from connector.control.smc.catalogue import Denied, invalid, missing
from connector.errors import ConnectorError
from connector.specification.value import ListOf, Parameter, Struct
from tests.cli.conftest import Connector
from tests.smc.test_fields import OPERATIONS

#: What stays on this machine: whom to call, what is shown, files, and what decides which operation is called.
LOCAL = {
    "as_json",
    "authority",
    "code_file",
    "follow",
    "key_id",
    "others",
    "output",
    "put_back",
    "release",
    "remote",
    "report",
    "secret_file",
    "settings",
    "stop",
    "then_start",
    "then_watch",
    "thumbprint",
    "to",
    "url",
    "yes",
}


def _commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield " ".join(path), command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        assert below is not None
        yield from _commands(below, (*path, name))


#: Those of waves say what is refused in the keys of the manifest.
COMMANDS = {
    path: command
    for path, command in _commands(program)
    if {"url", "key_id"} <= {parameter.name for parameter in command.params} and not path.startswith("batch ")
}
PARAMETERS = [
    pytest.param(command, parameter, id=f"{path} {parameter.name}")
    for path, command in COMMANDS.items()
    for parameter in command.params
    if parameter.name not in LOCAL
]


def _arrived(denied: Denied) -> ConnectorError:
    body = {"Code": denied.code, "Message": denied.message, "Recommend": f"{denied.remedy}."}
    return refused("AnyOperation", denied.status, body, "", on="https://127.0.0.1")


def _names(parameters: tuple[Parameter, ...]) -> Iterator[str]:
    for parameter in parameters:
        yield parameter.name
        kind = parameter.kind.item if isinstance(parameter.kind, ListOf) else parameter.kind
        if isinstance(kind, Struct):
            yield from _names(kind.fields)


def test_there_are_commands() -> None:
    assert len(COMMANDS) > 40


@pytest.mark.parametrize(("command", "parameter"), PARAMETERS)
def test_a_refusal_names_what_was_typed(command: click.Command, parameter: click.Parameter) -> None:
    names = typed.sent(parameter)
    assert names, "say in typed.SENT which parameter of the API it sets, or in this test that it stays here"
    known = typed.words(command)
    for name in names:
        word = known[name]
        assert word.startswith("--") or word.isupper()
        for denied in (invalid(name, "too long"), invalid(f"{name}.1.Key", "too long"), missing(name)):
            failed = _arrived(denied)
            typed.respell(failed, known)
            assert word in str(failed)
            assert name not in str(failed)


def test_the_parameters_that_are_named_exist() -> None:
    known = {name for operation in OPERATIONS.values() for name in _names(operation.parameters)}
    sent = {name for names in (*typed.SENT.values(), *typed.NAMED.values()) for name in names}
    assert sent <= known | {"RegionId"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("ValidTime cannot be changed while Running", "--valid-until cannot be changed while Running"),
        ("true only without TagKey", "true only without TagKey"),
        ("Tag may have at most 20 items.", "--tag may be given at most 20 times."),
        ("Name of the job", "--name of the job"),
        ("the Frequency-less job", "the Frequency-less job"),
    ],
)
def test_sentences_about_fields(text: str, says: str) -> None:
    failed = ConnectorError(text)
    typed.respell(failed, typed.words(COMMANDS["job create"]))
    assert failed.what == says


def test_what_was_set_by_its_own_name_keeps_it() -> None:
    known = typed.words(COMMANDS["job create"], {"others": ("Frequency=0",)})
    failed = _arrived(invalid("Frequency", "integer from 1 hours to 168"))
    for _ in range(2):  # several doors may respell
        typed.respell(failed, known)
    assert failed.what == "--set Frequency: integer from 1 hours to 168"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("group", "create", "1"), "NAME: 2-64 characters"),
        (("token", "create", "a-code", "--count", "2000"), "--count: integer from 1 to 1000"),
        (("source", "list", "--tag", "aliyun=x"), "--tag: 1-128 characters"),
    ],
    ids=["name", "count", "tag"],
)
def test_the_control_plane_s_own_refusals(connector: Connector, words: tuple[Any, ...], says: str) -> None:
    ran = connector(*words, code=2)
    assert says in ran.err
    assert "InvalidParameter" not in ran.err


def test_what_a_variable_said_is_named_by_the_variable(
    run: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONNECTOR_ACCESS_KEY_ID", "AK1")
    monkeypatch.setenv("CONNECTOR_ACCESS_KEY_SECRET", "secret")
    typed_ = run("job", "list", "--endpoint", "http://host", code=2).err
    assert "--endpoint: the control plane speaks HTTPS only" in typed_
    monkeypatch.setenv("CONNECTOR_CONTROL_URL", "http://host")
    assert "CONNECTOR_CONTROL_URL: the control plane speaks HTTPS only" in run("job", "list", code=2).err
