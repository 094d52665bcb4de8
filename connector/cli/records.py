"""A record of the API is found by its id or by a name that only it has. Lists are read page by page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from connector.clients.smc import Json, SmcClient
from connector.errors import Ambiguous, BadInput, NotFound

_PAGE: Final = 50  # the most that the API gives at once
_LONGEST_ID: Final = 80


@dataclass(frozen=True, slots=True)
class Noun:
    """One kind of record: its word, and the operation, fields and filters that list it. `prefix`: how its ids begin."""

    word: str
    action: str
    plural: str
    singular: str
    key: str
    prefix: str
    paged: bool = True


SOURCE: Final = Noun("source", "DescribeSourceServers", "SourceServers", "SourceServer", "SourceId", "s-")
JOB: Final = Noun("job", "DescribeReplicationJobs", "ReplicationJobs", "ReplicationJob", "JobId", "j-")
GROUP: Final = Noun("group", "DescribeWorkgroups", "Workgroups", "Workgroup", "WorkgroupId", "wg-")
TOKEN: Final = Noun(
    "token", "ListAccessTokens", "AccessTokens", "AccessToken", "AccessTokenId", "at-", paged=False
)
APPLIANCE: Final = Noun(
    "appliance", "DescribeMigrationAppliances", "Appliances", "Appliance", "ApplianceId", "a-"
)
PASS: Final = Noun("pass", "DescribeReplicationJobPasses", "Passes", "Pass", "PassId", "p-")
RESOURCE: Final = Noun("resource", "DescribeReplicationJobResources", "Resources", "Resource", "Token", "")
MACHINE: Final = Noun(
    "source", "DescribeSourceServerFindings", "SourceServers", "SourceServer", "SourceId", "s-"
)


def items(answer: Json, plural: str, singular: str) -> list[Json]:
    """The items of a list that the API wraps. An empty list may lack its inner part."""
    return list((answer.get(plural) or {}).get(singular) or ())


def rows(client: SmcClient, noun: Noun, **filters: Any) -> Iterator[Json]:
    """Every record that matches, page by page. A record that moves to the next page meanwhile comes once."""
    keys: set[str] = set()
    number, total = 1, 1
    while (number - 1) * _PAGE < total:
        page = {"PageNumber": number, "PageSize": _PAGE} if noun.paged else {}
        answer = client.call(noun.action, **filters, **page)
        records = items(answer, noun.plural, noun.singular)
        for row in records:
            if row[noun.key] not in keys:
                keys.add(row[noun.key])
                yield row
        total = int(answer.get("TotalCount") or 0) if noun.paged and records else 0
        number += 1


def some(client: SmcClient, noun: Noun, ids: Sequence[str]) -> list[Json]:
    """The records with these ids, in this order, without deleted ones."""
    records: dict[str, Json] = {}
    for start in range(0, len(ids), _PAGE):
        part = list(ids[start : start + _PAGE])
        records |= {row[noun.key]: row for row in rows(client, noun, **{noun.key: part})}
    return [records[key] for key in dict.fromkeys(ids) if key in records]


def find(client: SmcClient, noun: Noun, word: str) -> Json:
    """One record by its id or its name. Raises NotFound or Ambiguous."""
    if not word:
        raise BadInput(f"the name of a {noun.word} is empty")
    by_id: dict[str, Any] = {noun.key: [word]}
    by_name: dict[str, Any] = {"Name": word}
    looks = [by_id, by_name] if word.startswith(noun.prefix) else [by_name, by_id]
    for look in looks if len(word) <= _LONGEST_ID else [by_name]:
        matches = list(rows(client, noun, **look))
        records = _living(matches) or matches
        if len(records) > 1:
            ids = ", ".join(str(row[noun.key]) for row in records[:5])
            raise Ambiguous(
                f"{len(records)} {noun.word}s have this name", on=word, remedy=f"use an id: {ids}"
            )
        if records:
            return records[0]
    raise NotFound(f"no such {noun.word}", on=word, remedy=f"see connector {noun.word} list")


def find_job(client: SmcClient, word: str) -> Json:
    """A job by its id, its name, or the name of the source whose last job it is.

    A job that is being deleted has the name only if the source has no later job.
    """
    try:
        job = find(client, JOB, word)
    except NotFound:
        if last := _last_job(client, word):
            return find(client, JOB, last)
        raise
    if job[JOB.key] != word and not _living([job]) and (last := _last_job(client, word)):
        return find(client, JOB, last)
    return job


def _last_job(client: SmcClient, source: str) -> str:
    """The id of the newest job of a source that is not being deleted, else of the newest; empty without one."""
    try:
        row = find(client, SOURCE, source)
    except (NotFound, Ambiguous):
        return ""
    jobs = list(rows(client, JOB, SourceId=[row[SOURCE.key]]))  # newest first
    return str(next(iter(_living(jobs) or jobs), {}).get(JOB.key) or "")


def _living(records: list[Json]) -> list[Json]:
    """The records without those that are being removed."""
    return [row for row in records if "Deleting" not in (row.get("Status"), row.get("State"))]


def identity(client: SmcClient, noun: Noun, word: str) -> str:
    """The id of one record."""
    return str(find(client, noun, word)[noun.key])


def tag_words(words: Sequence[str], on: str = "--tag") -> list[Json]:
    """`KEY=VALUE` or `KEY` as tags of the API. `on`: the option or argument that was typed."""
    tags = []
    for word in words:
        key, separator, value = word.partition("=")
        if not key:
            raise BadInput(f"{word[:80]!r} is no tag", on=on, remedy="KEY=VALUE or KEY")
        tags.append({"Key": key, "Value": value} if separator else {"Key": key})
    return tags
