"""docs/smc-api.md is made from the tables that the API itself uses. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from connector.control.smc.catalogue import CODES
from connector.control.smc.operations import Field, Operation
from connector.control.smc.parameters import TOLERATED
from connector.model import COMPRESS_LEVELS
from connector.specification.value import Kind, ListOf, Parameter, Struct

_INTRODUCTION: Final = """# The public API

The control plane answers the API of Server Migration Center, version 2019-06-01, at `/` on its HTTPS address, so that the
official SDKs and the `aliyun` command line drive it unchanged. This page is generated from the tables in
`connector/control/smc`; a test fails when it is out of date.

## Calling it

An access key comes first. Its secret is shown once:

```
connector control key create --state DIR --name "night shift" --role operator
```

```python
from alibabacloud_smc20190601 import client, models
from alibabacloud_tea_openapi.models import Config

smc = client.Client(Config(access_key_id="AK...", access_key_secret="...",
                           endpoint="control.example:8443", ca="control-certificate.pem"))
print(smc.describe_source_servers(models.DescribeSourceServersRequest()).body.total_count)
```

The certificate file is `control.crt` in the control plane's state directory; copy it to the client. Environment variables
such as `REQUESTS_CA_BUNDLE` do not reach this SDK. The older SDK takes the file as `AcsClient(..., verify=FILE)` and needs
`request.set_protocol_type("https")`. Programs in Go, and so the `aliyun` command line, take it from `SSL_CERT_FILE`.
`connector source`, `job`, `group` and `token` speak this API too: see [cli.md](cli.md).

- GET and POST; parameters in the query, or in a form. Lists are numbered from 1: `JobId.1`, `DataDisk.1.Part.1.Device`.
- Signatures: `ACS3-HMAC-SHA256` in the header, or RPC V1 with `HMAC-SHA1` in the query. Clocks may differ by 15 minutes; a
  nonce is accepted once. The path is signed too: a proxy may neither add a path nor change the Host header.
- An empty parameter counts as absent, except where empty text is a value. Times are ISO 8601 in UTC.
- A success is HTTP 200 with `RequestId`; a failure is HTTP 4xx or 5xx with `RequestId`, `HostId`, `Code`, `Message` and
  `Recommend`, which says what to do next.
- An unknown parameter is refused. These parameters are accepted by every operation, and ignored if it does not use
  them: TOLERATED.
- Ids are compared exactly; a name is never accepted as an id. Filters match exactly, and all of them must match.
- Every change is in the [audit log](control.md#the-audit-log), in the same transaction: which key, from where, what, when.

## Where this differs from the service

- Only agentless migration of virtual machines is offered: `JobType` 3, the default. 0, 1 and 2 are refused, and so are
  `ContainerImage` and `CreateCrossZoneMigrationJob`; the messages say why.
- `TargetInstance` is offered for jobs that run once, by providers that have such instances. An incremental job makes images.
- Start is allowed from Waiting and begins a manual incremental run; Stop is allowed from Waiting and ends the schedule.
- `ValidTime` defaults to 30 days after creation. `SystemDiskSize` is 20 to 2048 GiB, and a target is never smaller than its
  source.
- The disks of a source are in the order in which its firmware looks for them: the first is the system disk, and `Index` and
  `DiskId` count from it. A job keeps the order that was known when its first run began.
- `ReplicationParameters` may be changed while a job is Syncing; the pass that is under way follows within a heartbeat.
  `bandwidth_limit` is in Mbit/s (1,000,000 bits a second) of what crosses the network, for all disks of a pass together,
  0 for no limit; the calendar of the appliance may allow less. `compress_level`:
  LEVELS;
  without it the appliance's own setting. `checksum` 1: a pass that was interrupted after its proof reads the target again;
  0: that proof counts. A pass that delivered anything is always proved by reading the target again.
- A source's disk is listed as one part that covers it: blocks are read without a look at partitions. `Block=false`, `LVM=true`
  and exclude lists are refused.
- `ImageName` that is taken gets the job's id appended; it is never an error.
- Answers name what they mean by an id: `SourceName` and `WorkgroupName` in DescribeReplicationJobs, `JobName` and
  `WorkgroupName` in DescribeSourceServers. The service has no such fields; official clients leave them aside.
"""

_EXTENSIONS: Final = """## Extensions

These operations are ours: the service has none of these names. Same address, same version, same signatures, role
`read-only` for those that only look. No SDK has a class for them; each can call them by name:

```python
from alibabacloud_tea_openapi.models import OpenApiRequest, Params
from darabonba.runtime import RuntimeOptions

call = Params(action="DescribeReplicationJobLog", version="2019-06-01", protocol="HTTPS", method="POST", pathname="/",
              auth_type="AK", style="RPC", req_body_type="formData", body_type="json")
answer = smc.call_api(call, OpenApiRequest(query={"JobId": "j-..."}), RuntimeOptions())
print(answer["body"]["LogEntries"]["LogEntry"])
```

```
aliyun smc DescribeReplicationJobLog --version 2019-06-01 --force --endpoint control.example:8443 --JobId j-...
```

`connector job watch` and `connector job logs` are made of them. Lists are wrapped as everywhere: `Disks.Disk[]`. Bytes are
64-bit integers. Every field is always there, with its type.
"""


_WORDS: Final = {"none": "none", "adaptive": "as the line needs"}
_LEVELS: Final = tuple(_WORDS.get(mode, f"zstd {mode}") for mode in COMPRESS_LEVELS)


def document(operations: Sequence[Operation]) -> str:
    """The whole page."""
    ours = [operation for operation in operations if operation.extension]
    theirs = [operation for operation in operations if not operation.extension]
    sections = [
        _INTRODUCTION.replace("TOLERATED", ", ".join(f"`{name}`" for name in sorted(TOLERATED))).replace(
            "LEVELS", ", ".join(f"{n} {mode}" for n, mode in enumerate(_LEVELS))
        ),
        "## Operations\n",
        _list(theirs),
        *(_operation(operation) for operation in theirs),
        _EXTENSIONS,
        _list(ours),
        *(_operation(operation) + "\n" + _answers(operation) for operation in ours),
        "## Errors\n",
        "A code that ends in `*` goes on with the parameter's name. Codes marked ours have none in the service's"
        " documentation.\n",
        _table(
            ("HTTP", "code", "meaning", "what to do", ""),
            (
                (str(c.status), f"`{c.name}`", c.meaning, c.remedy, "" if c.documented else "ours")
                for c in sorted(CODES, key=lambda code: code.name)
            ),
        ),
    ]
    return "\n".join(sections)


def _list(operations: Iterable[Operation]) -> str:
    rows = ((f"[{o.name}](#{o.name.lower()})", str(o.role), o.meaning) for o in operations)
    return _table(("operation", "role", "what it does"), rows)


def _answers(operation: Operation) -> str:
    return _table(("answer", "type", ""), _fields(operation.answers))


def _fields(fields: Iterable[Field], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    for field in fields:
        if not field.item:
            yield f"`{prefix}{field.name}`", field.kind, field.meaning
            continue
        name = f"{prefix}{field.name}.{field.item}[]"
        yield f"`{name}`", "list" if field.fields else "list of strings", field.meaning
        yield from _fields(field.fields, f"{name}.")


def _operation(operation: Operation) -> str:
    rows = [
        (f"`{name}`", "yes" if required else "", says, meaning)
        for name, required, says, meaning in _rows(operation.parameters)
    ]
    head = f"### {operation.name}\n\n{operation.meaning[:1].upper()}{operation.meaning[1:]}.\n"
    return f"{head}\n{_table(('parameter', 'required', 'value', ''), rows)}"


def _rows(table: Iterable[Parameter], prefix: str = "") -> Iterator[tuple[str, bool, str, str]]:
    for parameter in table:
        name, kind, says = f"{prefix}{parameter.name}", parameter.kind, ""
        if isinstance(kind, ListOf):
            name, says, kind = f"{name}.N", f"up to {kind.limit}", kind.item
        if isinstance(kind, Struct):
            if says or parameter.meaning:
                yield name, parameter.required, says, parameter.meaning
            yield from _rows(kind.fields, f"{name}.")
        else:
            yield (
                name,
                parameter.required,
                ", each ".join(filter(None, (says, _says(kind)))),
                parameter.meaning,
            )


def _says(kind: Kind) -> str:
    return "" if isinstance(kind, ListOf | Struct) else kind.says


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return (
        "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
        + "\n"
    )
