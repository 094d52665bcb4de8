"""For a key that is limited to workgroups, nothing outside them exists.

`RULES` has one line for each operation. An operation without a line is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from connector.control.domain.access import AccessKey
from connector.control.domain.entities import TagKind
from connector.control.domain.refusals import RefusalCode, UnknownObject
from connector.control.smc.catalogue import Denied, missing
from connector.control.smc.parameters import Values
from connector.control.store.search import APPLIANCE, GROUP, JOB, SOURCE, TOKEN, Scope

_UNKNOWN: Final = {
    SOURCE: RefusalCode.SOURCE_UNKNOWN,
    JOB: RefusalCode.JOB_UNKNOWN,
    GROUP: RefusalCode.GROUP_UNKNOWN,
    APPLIANCE: RefusalCode.APPLIANCE_UNKNOWN,
    TOKEN: RefusalCode.TOKEN_UNKNOWN,
}
_TAGGED: Final = {TagKind.SOURCE: SOURCE, TagKind.JOB: JOB, TagKind.GROUP: GROUP}
_NOBODY: Final = "-"  # no id has this form: a search for it finds nothing


@dataclass(frozen=True, slots=True)
class ScopeRule:
    """How one operation is limited. `names`: required parameters whose ids must be inside. `lists`: a parameter that
    narrows the search; it is set to what is inside. `tags`: `ResourceId` has the kind that `ResourceType` says. `takes_back`:
    during the cutover of an application it takes all machines of the application back, so all must be inside.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    lists: tuple[str, str] | None = None
    tags: str = ""  # "names" or "lists"
    takes_back: bool = False


def _named(**names: str) -> ScopeRule:
    return ScopeRule(names)


def _listed(parameter: str, kind: str) -> ScopeRule:
    return ScopeRule(lists=(parameter, kind))


_ONE_JOB: Final = _named(JobId=JOB)
_ONE_SOURCE: Final = _named(SourceId=SOURCE)
_ONE_APPLIANCE: Final = _named(ApplianceId=APPLIANCE)
_ONE_TOKEN: Final = _named(AccessTokenId=TOKEN)
_ONE_GROUP: Final = _named(WorkgroupId=GROUP)
_MEMBERS: Final = _named(WorkgroupId=GROUP, SourceId=SOURCE)

RULES: Final[Mapping[str, ScopeRule]] = {
    "DescribeSourceServers": _listed("SourceId", SOURCE),
    "ModifySourceServerAttribute": _ONE_SOURCE,
    "DeleteSourceServer": _ONE_SOURCE,
    "DescribeReplicationJobs": _listed("JobId", JOB),
    "CreateReplicationJob": _ONE_SOURCE,
    "ModifyReplicationJobAttribute": _ONE_JOB,
    "StartReplicationJob": _ONE_JOB,
    "StopReplicationJob": ScopeRule({"JobId": JOB}, takes_back=True),
    "CutOverReplicationJob": _ONE_JOB,
    "DeleteReplicationJob": _ONE_JOB,
    "ListAccessTokens": _listed("AccessTokenId", TOKEN),
    "DisableAccessToken": _ONE_TOKEN,
    "DeleteAccessToken": _ONE_TOKEN,
    "DescribeWorkgroups": _listed("WorkgroupId", GROUP),
    "ModifyWorkgroupAttribute": _ONE_GROUP,
    "AssociateSourceServers": _MEMBERS,
    "DisassociateSourceServers": _MEMBERS,
    "TagResources": ScopeRule(tags="names"),
    "UntagResources": ScopeRule(tags="names"),
    "ListTagResources": ScopeRule(tags="lists"),
    "DescribeReplicationJobProgress": _listed("JobId", JOB),
    "DescribeReplicationJobLog": _ONE_JOB,
    "DescribeReplicationJobPasses": _ONE_JOB,
    "DescribeReplicationJobEvidence": _ONE_JOB,
    "ExportReplicationJobEvidence": _ONE_JOB,
    "DescribeReplicationJobResources": _ONE_JOB,
    "SetReplicationJobDisks": _ONE_JOB,
    "RollbackReplicationJob": _ONE_JOB,
    "StartReplicationJobDrill": _ONE_JOB,
    "StopReplicationJobDrill": _ONE_JOB,
    "DescribeReplicationJobDrills": _listed("JobId", JOB),
    "ExportReplicationJobDrillFile": _ONE_JOB,
    "DescribeFormerDisks": _listed("JobId", JOB),
    "PutBackFormerDisks": _ONE_JOB,
    "ReleaseFormerDisks": _ONE_JOB,
    "DescribeSourceServerFindings": _listed("SourceId", SOURCE),
    "EstimateMigration": _ONE_SOURCE,
    "DescribeMigrationAppliances": _listed("ApplianceId", APPLIANCE),
    "CreateEnrolmentCode": _ONE_GROUP,
    "ApproveMigrationAppliance": _ONE_APPLIANCE,
    "RevokeMigrationAppliance": _ONE_APPLIANCE,
    "RotateMigrationAppliance": _ONE_APPLIANCE,
}

#: Operations for keys without limits only: they concern everybody, or machines of several tenants at once.
OUTSIDE: Final = (
    "CreateCrossZoneMigrationJob",
    "CreateAccessToken",
    "CreateWorkgroup",
    "DeleteWorkgroup",
    "DescribeMigrationApplications",
    "SetMigrationApplication",
    "StartMigrationApplication",
    "CutOverMigrationApplication",
    "RollbackMigrationApplication",
    "DescribeControlPlane",
    "ConfirmRestore",
)


def narrowed(scope: Scope, key: AccessKey, operation: str, values: Values) -> Values:
    """The values, narrowed to what this key may see. Raises `Denied`, and `UnknownObject` for ids outside."""
    if key.workgroups is None:
        return values
    rule = RULES.get(operation)
    if rule is None:
        raise Denied(
            "Forbidden.Unauthorized",
            f"The access key {key.id} is limited to workgroups; {operation} is for keys without limits.",
            "use a key that is not limited to workgroups, or ask an administrator to do it",
        )
    names, lists = _of(rule, values)
    for parameter, kind in names.items():
        _require(scope.ids(kind, key.workgroups), parameter, kind, values)
    if rule.takes_back:
        _require_whole(scope, key, key.workgroups, str(values["JobId"]))
    if lists is None:
        return values
    parameter, kind = lists
    inside = scope.ids(kind, key.workgroups)
    allowed_ids = (
        [item for item in values[parameter] if item in inside] if parameter in values else sorted(inside)
    )
    return {**values, parameter: allowed_ids or [_NOBODY]}


def _require_whole(scope: Scope, key: AccessKey, workgroups: tuple[str, ...], job_id: str) -> None:
    if application := scope.shared_cutover(job_id, workgroups):
        raise Denied(
            "Forbidden.Unauthorized",
            f"{job_id}: a stop takes back machines of its application {application} that the access key {key.id} does not cover.",
            "use a key that is not limited to workgroups, or ask an administrator to do it",
        )


def _of(rule: ScopeRule, values: Values) -> tuple[Mapping[str, str], tuple[str, str] | None]:
    if not rule.tags:
        return rule.names, rule.lists
    kind = _TAGGED[TagKind(values["ResourceType"])]
    return ({"ResourceId": kind}, None) if rule.tags == "names" else ({}, ("ResourceId", kind))


def _require(inside: set[str], parameter: str, kind: str, values: Values) -> None:
    if parameter not in values:
        raise missing(parameter)
    requested = values[parameter]
    for item in requested if isinstance(requested, list) else [requested]:
        if item not in inside:
            raise UnknownObject(
                _UNKNOWN[kind],
                f"no such {kind} in the workgroups of this access key",
                on=str(item),
                remedy=f"list what this key sees, or use a key that covers the workgroup of this {kind}",
            )
