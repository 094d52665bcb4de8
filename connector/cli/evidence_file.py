"""The evidence of a job's passes is listed from the control plane, or written to a file for `connector verify`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from connector.cli import tables
from connector.cli.records import items
from connector.clients.smc import Json, SmcClient
from connector.errors import BadInput, NotFound

COLUMNS: Final[tuple[tables.Column, ...]] = (
    ("pass", lambda row: row.get("PassId")),
    ("run", lambda row: row.get("RunNumber")),
    ("made", lambda row: row.get("CreationTime")),
    ("bytes", lambda row: row.get("Size")),
    ("signed by", lambda row: row.get("Fingerprint")),
)


def entries(client: SmcClient, job: str, pass_id: str | None) -> list[Json]:
    """The evidence of a job, oldest first, or of one pass. Raises NotFound if that pass has none."""
    rows = items(client.call("DescribeReplicationJobEvidence", JobId=job), "Evidences", "Evidence")
    if pass_id is None:
        return rows
    rows = [row for row in rows if row["PassId"] == pass_id]
    if not rows:
        raise NotFound("no evidence of this pass", on=pass_id, remedy="list the evidence of the job")
    return rows


def write(client: SmcClient, job: str, entries: Sequence[Json], path: Path) -> None:
    """Write the newest manifest of `entries`, after a check. Raises NotFound, EvidenceDamaged, BadInput."""
    from connector.transfer import evidence

    if not entries:
        raise NotFound("no evidence yet", on=job, remedy="let a pass finish first")
    answer = client.call("ExportReplicationJobEvidence", JobId=job, PassId=entries[-1]["PassId"])
    manifest = str(answer["Manifest"]).encode()
    key = evidence.read(manifest).key
    try:
        path.write_bytes(manifest)
        path.with_name(f"{path.name}.pub").write_text(evidence.pem(key))
    except OSError as error:
        raise BadInput(
            f"cannot be written ({error.strerror})", on=str(path), remedy="choose another place"
        ) from None
