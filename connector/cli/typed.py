"""A refusal of the public API names what was typed: `--mbit`, not `BandwidthLimit`.

Every option and argument whose value goes to the API is in `SENT`, or has the name of the job field that it sets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import click
from click.core import ParameterSource

from connector.errors import ConnectorError
from connector.specification.fields import BY_NAME

#: Parameters of the API by the name of the option or argument. The option of a job field has the field's name.
SENT: Final[Mapping[str, tuple[str, ...]]] = {
    "at_once": ("AtOnce",),
    "count": ("Count",),
    "days": ("TimeToLiveInDays",),
    "description": ("Description",),
    "everything": ("All",),
    "force": ("Force",),
    "group": ("WorkgroupId",),
    "image_format": ("ImageFormat",),
    "job": ("JobId",),
    "joins": ("JoinsByItself",),
    "keep_cbt": ("KeepChangeTracking",),
    "keys": ("TagKey",),
    "lines": ("MaxResults",),
    "marker": ("Marker",),
    "mbit": ("BandwidthLimit",),
    "name": ("Name",),
    "network": ("Network",),
    "new": ("PlanOnly",),
    "new_macs": ("NewMacs",),
    "of_vcenter": ("VCenter",),
    "online": ("Online",),
    "pairs": ("Tag",),
    "pass_id": ("PassId",),
    "region": ("RegionId",),
    "source": ("SourceId",),
    "sources": ("SourceId",),
    "state": ("State",),
    "status": ("Status",),
    "sync": ("SyncData",),
    "tagged": ("Tag",),
    "timeout": ("Timeout",),
    "workgroup": ("WorkgroupId",),
}
#: An argument that names a record, by its placeholder.
NAMED: Final[Mapping[str, tuple[str, ...]]] = {
    "APPLIANCE": ("ApplianceId",),
    "GROUP": ("WorkgroupId",),
    "JOB": ("JobId", "Member"),
    "SOURCE": ("SourceId",),
    "TOKEN": ("AccessTokenId",),
}

_PATH: Final = r"(?:\.[0-9]+)?(?:\.[A-Za-z]+)*"  # of an item of a list, or a part of a structure
_PHRASES: Final = (
    (r"The specified parameter (NAME) is not valid: ", r"\1: "),
    (r"(NAME) is mandatory for this action", r"\1 is missing"),
    (r"(NAME) may have at most (\d+) items", r"\1 may be given at most \2 times"),
    (r"(NAME) holds an item twice", r"\1 has the same value twice"),
)
_CODE: Final = re.compile(r" \((?:InvalidParameter|MissingParameter|NumberExceed)\.[\w.]+\)")
_BEFORE: Final = re.compile(r"(?:parameter|specified|use|give|without|with) \Z", re.IGNORECASE)


@contextmanager
def as_typed() -> Iterator[None]:
    """Make refusals inside name the options and arguments of the command that runs."""
    try:
        yield
    except ConnectorError as failed:
        if context := click.get_current_context(silent=True):
            respell(failed, words(context.command, context.params))
        raise


@contextmanager
def as_given() -> Iterator[None]:
    """Make refusals inside name an option as it was given: as an option or as an environment variable."""
    try:
        yield
    except ConnectorError as failed:
        context = click.get_current_context(silent=True)
        for parameter in context.command.params if context else ():
            if context and failed.on in parameter.opts and isinstance(parameter.envvar, str):
                source = context.get_parameter_source(str(parameter.name))
                failed.on = parameter.envvar if source is ParameterSource.ENVIRONMENT else failed.on
        raise


def words(command: click.Command, typed: Mapping[str, Any] | None = None) -> dict[str, str]:
    """What a person types for each parameter of the API that `command` sends. `given`: what was typed."""
    names: dict[str, str] = {}
    for parameter in command.params:
        word = _word(parameter)
        for name in sent(parameter):
            names.setdefault(name, word)
        field = BY_NAME.get(str(parameter.name))
        if field and field.part_of:
            names[field.part_of] = ", ".join(filter(None, (names.get(field.part_of), word)))
    for pair in (typed or {}).get("others") or ():
        name = pair.partition("=")[0]
        names[name] = f"--set {name}"
    return names


def sent(parameter: click.Parameter) -> tuple[str, ...]:
    """The parameters of the API that an option or argument sets; empty if it is not sent."""
    name = str(parameter.name)
    if isinstance(parameter, click.Argument) and (parameters := NAMED.get(_word(parameter))):
        return parameters
    return SENT.get(name, (name,) if name in BY_NAME else ())


def respell(failed: ConnectorError, words: Mapping[str, str]) -> None:
    """Replace the names of the API in an error."""
    if not words:
        return
    failed.on = _exactly(failed.on, words)
    before = failed.what
    failed.what, failed.remedy = _respelled(before, words), _respelled(failed.remedy, words)
    if failed.what != before:
        failed.what = _CODE.sub("", failed.what)


def _word(parameter: click.Parameter) -> str:
    if isinstance(parameter, click.Option):
        return max(parameter.opts, key=len)
    return re.sub(r"\[=.*\]|\.\.\.|[\[\]]", "", parameter.make_metavar(click.Context(_NOTHING)))


_NOTHING: Final = click.Command("")


def _exactly(on: str, words: Mapping[str, str]) -> str:
    name = re.sub(rf"{_PATH}\Z", "", on) if "." in on else on
    return words.get(name, on)


def _respelled(text: str, words: Mapping[str, str]) -> str:
    names = "|".join(sorted(map(re.escape, words), key=len, reverse=True))
    for phrase, wording in _PHRASES:
        pattern = phrase.replace("(NAME)", rf"(?P<name>{names}){_PATH}", 1)
        text = re.sub(pattern, lambda m, wording=wording: _filled(wording, m, words), text)  # type: ignore[misc]
    return re.sub(rf"(?<![\w.-])(?<!--set )({names}){_PATH}(?![\w-])", lambda m: _alone(m, words), text)


def _filled(wording: str, match: re.Match[str], words: Mapping[str, str]) -> str:
    count = match[2] if match.re.groups > 1 else ""
    return wording.replace(r"\1", words[match["name"]]).replace(r"\2", count)


def _alone(match: re.Match[str], words: Mapping[str, str]) -> str:
    """The name as typed, or unchanged: a name that is also a plain word is replaced only where it must be the name."""
    name = match[1]
    plain = re.fullmatch(r"[A-Z][a-z]+", name) and not BY_NAME.get(name)
    if plain and not _BEFORE.search(match.string[: match.start()]):
        return match[0]
    return words[name]
