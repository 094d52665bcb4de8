"""The tables of the control plane. The migrations in `control/migrations` build exactly these tables."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
    true,
)

from connector.control.domain.jobs import UNFINISHED

metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_ID: Final = String(80)

appliances: Final = Table(
    "appliances",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("name", String(200), nullable=False),
    Column("vcenter", String(400), nullable=False, index=True),
    Column("version", String(80), nullable=False),
    Column("secret_hash", String(64), nullable=False),
    Column("heartbeat", Float, nullable=False),
    Column("created", Float, nullable=False),
    Column("token_id", _ID, nullable=True),  # the access token it enrolled with; null: the built-in code
    Column(
        "notice", Text, nullable=False, server_default=""
    ),  # which part of its inventory was not registered
    Column("state", String(20), nullable=False, server_default="approved"),  # ApplianceStatus
    Column("workgroup_id", _ID, nullable=True),  # its tenant; null: the administrator
    Column("next_secret_hash", String(64), nullable=False, server_default=""),  # sent, not used so far
    Column(
        "rotate", Boolean, nullable=False, server_default=false()
    ),  # it shall ask for a new secret and key
)

appliance_keys: Final = Table(
    "appliance_keys",
    metadata,
    Column("appliance_id", _ID, ForeignKey("appliances.id"), primary_key=True),
    Column("fingerprint", String(80), primary_key=True),
    Column("key", Text, nullable=False),  # public, PEM
    Column("registered", Float, nullable=False),
    Column("replaced", Float, nullable=True),  # when; the key is valid for passes that were taken before
)

vcenters: Final = Table(
    "vcenters",
    metadata,
    Column("id", String(400), primary_key=True),  # its instance UUID
    Column("workgroup_id", _ID, nullable=True),  # its tenant; null: whoever owns the control plane
    Column("created", Float, nullable=False),
)

sources: Final = Table(
    "sources",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("vcenter", String(400), nullable=False),
    Column("moref", String(80), nullable=False),
    Column("instance_uuid", String(80), nullable=False),
    Column(
        "name", String(400), nullable=False, index=True
    ),  # unique among sources that are not deleted; people may edit it
    Column("state", String(20), nullable=False),
    Column("reason", Text, nullable=False),  # why it is unavailable
    Column("facts", JSON, nullable=False),  # the machine as the appliance saw it, without its disks
    Column("findings", JSON, nullable=False),
    Column("seen", Float, nullable=False),
    Column("created", Float, nullable=False),
    Column("machine", String(400), nullable=False, server_default="", index=True),  # its name in vCenter
    Column("named", Boolean, nullable=False, server_default=false()),  # a person chose the name
    Column("description", Text, nullable=False, server_default=""),
    Column("error_code", String(80), nullable=False, server_default=""),
    Column("last_job", _ID, nullable=True, index=True),
    Column("workgroup_id", _ID, nullable=True, index=True),
    Column("resource_group", String(80), nullable=False, server_default=""),
    Column("token_id", _ID, nullable=True, index=True),  # the access token that brought it in
)
Index("ix_sources_page", sources.c.created, sources.c.id, sources.c.state)  # pages are read from it alone
Index("ix_sources_vcenter", sources.c.vcenter, sources.c.error_code, sources.c.state)  # read all the time
_here: Final = text("state <> 'Deleted'")
Index(
    "ux_sources_machine",
    sources.c.vcenter,
    sources.c.moref,
    unique=True,
    sqlite_where=_here,
    postgresql_where=_here,
)
Index("ix_sources_state_created", sources.c.state, sources.c.created)  # lists of one state are sorted by age
Index("ux_sources_name", sources.c.name, unique=True, sqlite_where=_here, postgresql_where=_here)

source_disks: Final = Table(
    "source_disks",
    metadata,
    Column("source_id", _ID, ForeignKey("sources.id", ondelete="CASCADE"), primary_key=True),
    Column("key", Integer, primary_key=True),
    Column("label", String(200), nullable=False),
    Column("capacity", BigInteger, nullable=False),
    Column("facts", JSON, nullable=False),
    Column(
        "place", Integer, nullable=False, server_default="0"
    ),  # in the order of its disks; 0: the system disk
)

jobs: Final = Table(
    "jobs",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("source_id", _ID, ForeignKey("sources.id"), nullable=False),
    Column("name", String(128), nullable=False, index=True),
    Column("status", String(20), nullable=False),
    Column("business", String(20), nullable=False),
    Column("run_once", Boolean, nullable=False),
    Column("last_sync", Boolean, nullable=False),
    Column("image_name", String(128), nullable=False),
    Column("image_format", String(20), nullable=False),
    Column("shutdown_deadline", Float, nullable=False),
    Column("allow_power_off", Boolean, nullable=False),
    Column(
        "cutover", Boolean, nullable=False
    ),  # a cutover was asked for; it stays through failures until the job is finished
    Column("error", JSON(none_as_null=True), nullable=True),
    Column("instance", JSON(none_as_null=True), nullable=True),  # address of the intermediate instance
    Column("authority", Text, nullable=True),  # the certificate authority of this job, sealed
    Column("client_token", String(64), nullable=True, unique=True),
    Column("created", Float, nullable=False),
    Column("changed", Float, nullable=False),
    Column("description", Text, nullable=False, server_default=""),
    Column("job_type", Integer, nullable=False, server_default="3"),
    Column("region", String(80), nullable=False, server_default=""),
    Column("resource_group", String(80), nullable=False, server_default=""),
    Column("target_instance", String(80), nullable=False, server_default=""),
    Column("definition", JSON, nullable=False, server_default="{}"),  # the request, in the API's names
    Column("frequency", Integer, nullable=True),  # hours between two runs
    Column("max_images", Integer, nullable=True),
    Column("scheduled_start", Float, nullable=True),
    Column("valid_until", Float, nullable=False, server_default="1e18"),
    Column("expired", Float, nullable=True),  # when it became Expired
    Column("next_run", Float, nullable=True),  # set while an incremental job waits
    Column("started", Float, nullable=True),  # when the newest run began
    Column("ended", Float, nullable=True),
    Column("error_code", String(80), nullable=False, server_default=""),
    Column("waiting", Text, nullable=False, server_default=""),  # what it waits for, as people read it
    Column("image_id", _ID, nullable=True),  # the newest image
    Column("transition_instance", String(200), nullable=True),
    Column(
        "audit", Float, nullable=True
    ),  # share of what CBT calls unchanged; null: as the appliance is configured
    Column("accept_removed_disks", Boolean, nullable=False, server_default=false()),
    Column("down_since", Float, nullable=True),  # when our cutover first asked the source to shut down
    Column("predicted_downtime", Float, nullable=True),  # seconds, predicted when the cutover began
    Column("quiesce", String(20), nullable=False, server_default="off"),
    Column("keep_cbt", Boolean, nullable=False, server_default=false()),  # a rollback leaves CBT on
    Column("application", String(128), nullable=False, server_default="", index=True),
    Column("rank", Integer, nullable=False, server_default="0"),  # the lowest is shut down first
    Column(
        "disk_order", JSON(none_as_null=True), nullable=True
    ),  # keys, as they were when its first run began
    Column("compare_reason", Text, nullable=False, server_default=""),  # why its next pass compares
)

Index("ix_jobs_status_created", jobs.c.status, jobs.c.created)
Index("ix_jobs_page", jobs.c.created, jobs.c.id, jobs.c.status)
Index("ix_jobs_region_page", jobs.c.region, jobs.c.created, jobs.c.id, jobs.c.status)
Index("ix_jobs_source_type", jobs.c.source_id, jobs.c.job_type)
_down = text("down_since IS NOT NULL")
Index("ix_jobs_down", jobs.c.down_since, jobs.c.status, sqlite_where=_down, postgresql_where=_down)
_unfinished = text(f"status IN ({', '.join(repr(str(s)) for s in UNFINISHED)})")
Index(
    "ux_jobs_unfinished_source",
    jobs.c.source_id,
    unique=True,
    sqlite_where=_unfinished,
    postgresql_where=_unfinished,
)
_alive = text("status NOT IN ('Deleting', 'Deleted')")
Index("ux_jobs_name", jobs.c.name, unique=True, sqlite_where=_alive, postgresql_where=_alive)

runs: Final = Table(
    "runs",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("job_id", _ID, ForeignKey("jobs.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("kind", String(20), nullable=False),  # "Manual", "Schedule" or "Rollback"
    Column("plan", JSON, nullable=False),  # one task per pass
    Column("started", Float, nullable=False),
    Column("stop", Boolean, nullable=False),  # a stop was asked for; the workflow reads it
    Column("ended", Float, nullable=True, index=True),
    Column("outcome", String(20), nullable=True),
    Column("error", JSON(none_as_null=True), nullable=True),
    Column("cohort", _ID, nullable=True, index=True),  # shared by runs that are carried out together
    Column("rank", Integer, nullable=False, server_default="0"),
    Column(
        "proved", Boolean, nullable=False, server_default=false()
    ),  # all of the cohort are proved: nothing rolls it back
    UniqueConstraint("job_id", "number"),
)

passes: Final = Table(
    "passes",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("run_id", _ID, ForeignKey("runs.id"), nullable=False),
    Column("job_id", _ID, ForeignKey("jobs.id"), nullable=False, index=True),
    Column("slot", Integer, nullable=False),  # position in the run's plan
    Column("attempt", Integer, nullable=False),
    Column("final", Boolean, nullable=False),
    Column("vcenter", String(400), nullable=False),
    Column("state", String(20), nullable=False, index=True),
    Column("appliance_id", _ID, ForeignKey("appliances.id"), nullable=True),
    Column("offered", Float, nullable=False),
    Column("taken", Float, nullable=True),
    Column("ended", Float, nullable=True),
    Column("phase", String(400), nullable=False),
    Column("disks", JSON, nullable=False),
    Column("outcome", String(20), nullable=True),
    Column("error", JSON(none_as_null=True), nullable=True),
    Column("result", JSON(none_as_null=True), nullable=True),
    Column("host", String(80), nullable=False, server_default=""),  # in vCenter; the limits count these
    Column("datastores", JSON, nullable=False, server_default="[]"),
    Column("disk_count", Integer, nullable=False, server_default="1"),
    Column("not_before", Float, nullable=False, server_default="0"),  # no appliance takes it earlier ...
    Column("reason", Text, nullable=False, server_default=""),  # ... because of this
    Column("task", String(20), nullable=False, server_default="read"),
    Column(
        "wanted", JSON, nullable=False, server_default="[]"
    ),  # keys of the disks that it is about, set when it was taken
    Column("free", Float, nullable=True),  # share of the fullest datastore under the open snapshot, 0 to 1
    UniqueConstraint("run_id", "slot", "attempt"),
    Index("ix_passes_job_taken", "job_id", "taken"),
)

objects: Final = Table(
    "objects",
    metadata,
    Column("token", String(200), primary_key=True),
    Column("job_id", _ID, ForeignKey("jobs.id"), nullable=False, index=True),
    Column("pass_id", _ID, ForeignKey("passes.id"), nullable=True),
    Column("place", String(20), nullable=False),  # "vcenter" or "cloud"
    Column("kind", String(40), nullable=False),
    Column("reference", String(400), nullable=True),  # moref, instance handle, image id
    Column("removed", Boolean, nullable=False),
    Column("created", Float, nullable=False),
    Column("trouble", Text, nullable=False, server_default=""),  # why it could not be removed so far
)

images: Final = Table(
    "images",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("job_id", _ID, ForeignKey("jobs.id"), nullable=False, index=True),
    Column("run_id", _ID, ForeignKey("runs.id"), nullable=False, unique=True),
    Column("name", String(200), nullable=False, unique=True),
    Column("format", String(20), nullable=False),
    Column("ready", Boolean, nullable=False),
    Column("details", JSON, nullable=False),
    Column("created", Float, nullable=False),
    Column(
        "removed", Boolean, nullable=False, server_default=false()
    ),  # removed to make room for a newer one
    Column("completed", Float, nullable=True),  # when it was ready
)

drills: Final = Table(
    "drills",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("job_id", _ID, ForeignKey("jobs.id"), nullable=False, index=True),
    Column("image_id", _ID, nullable=False),
    Column("image_name", String(200), nullable=False),
    Column("location", Text, nullable=False),  # of the image, in the provider's form
    Column("run_number", Integer, nullable=False),
    Column("plan_only", Boolean, nullable=False),
    Column("network", String(20), nullable=False),
    Column("new_macs", Boolean, nullable=False),
    Column("timeout", Float, nullable=False),
    Column("marker", Text, nullable=False),
    Column("asked", Float, nullable=False),
    Column("asked_by", String(80), nullable=False),
    Column("state", String(20), nullable=False, index=True),
    Column("stop", Boolean, nullable=False),
    Column("started", Float, nullable=True),
    Column("ended", Float, nullable=True),
    Column("phase", Text, nullable=False),
    Column("boots", Boolean, nullable=True),
    Column("report", JSON(none_as_null=True), nullable=True),
    Column(
        "kept", JSON, nullable=False
    ),  # SHA-256 and bytes of console log and screenshot, which are beside the image
    Column("error", JSON(none_as_null=True), nullable=True),
)

evidence: Final = Table(
    "evidence",
    metadata,
    Column("pass_id", _ID, ForeignKey("passes.id"), primary_key=True),
    Column("job_id", _ID, ForeignKey("jobs.id"), nullable=False, index=True),
    Column("run_id", _ID, ForeignKey("runs.id"), nullable=False, index=True),
    Column("created", Float, nullable=False),
    Column("size", BigInteger, nullable=False),  # bytes of the manifest, unpacked
    Column("key", Text, nullable=False),  # public key of the appliance that signed it
    Column("packed", LargeBinary, nullable=False),  # the manifest, as one zstd frame
)

events: Final = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("job_id", _ID, ForeignKey("jobs.id"), nullable=False, index=True),
    Column("at", Float, nullable=False),
    Column("kind", String(40), nullable=False),
    Column("text", Text, nullable=False),
)

tags: Final = Table(
    "tags",
    metadata,
    Column("kind", String(20), primary_key=True),  # TagKind
    Column("resource_id", _ID, primary_key=True),
    Column("key", String(128), primary_key=True),
    Column("value", String(128), nullable=False),
    Index("ix_tags_owner", "key", "value", "kind", "resource_id"),  # searches read it alone
)

workgroups: Final = Table(
    "workgroups",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("description", Text, nullable=False),
    Column("client_token", String(64), nullable=True, unique=True),
    Column("created", Float, nullable=False),
)

access_tokens: Final = Table(
    "access_tokens",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("name", String(128), nullable=False),
    Column("description", Text, nullable=False),
    Column("code_hash", String(64), nullable=False, unique=True),
    Column("count", Integer, nullable=False),  # how many sources it may bring in
    Column("registered", Integer, nullable=False),
    Column("days", Integer, nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("created", Float, nullable=False),
    Column("approved", Boolean, nullable=False, server_default=true()),  # false after a restore
    Column("vcenter", String(400), nullable=False, server_default=""),  # the only one that it is valid for
    Column("workgroup_id", _ID, nullable=True),  # the tenant of its appliances
    Column("joins", Boolean, nullable=False, server_default=false()),  # its appliances need no approval
)

access_keys: Final = Table(
    "access_keys",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("sealed", Text, nullable=False),  # the secret, sealed by the vault: signatures need it
    Column("role", String(20), nullable=False),
    Column("name", String(128), nullable=False),
    Column("created", Float, nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("approved", Boolean, nullable=False, server_default=true()),  # false after a restore
    Column(
        "workgroups", JSON(none_as_null=True), nullable=True
    ),  # ids that its holder sees; null: everything
    Column("until", Float, nullable=True),  # nothing signed with it is accepted from then on
)

nonces: Final = Table(
    "nonces",
    metadata,
    Column("key_id", _ID, primary_key=True),
    Column("nonce", String(128), primary_key=True),
    Column("at", Float, nullable=False, index=True),
)

sessions: Final = Table(
    "sessions",
    metadata,
    Column("id", String(64), primary_key=True),  # digest of the cookie
    Column("key_id", _ID, nullable=False),
    Column("origin", String(80), nullable=False),
    Column("created", Float, nullable=False),
    Column("seen", Float, nullable=False),
)

# Triggers (v0014) refuse to change or delete a row. A migration that rebuilds the table has to make them again.
audit: Final = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True),  # the line's number: 1, 2, 3, ...
    Column("at", Float, nullable=False, index=True),
    Column("who", String(200), nullable=False, index=True),
    Column("origin", String(80), nullable=False),  # the address at login
    Column("action", String(80), nullable=False),
    Column("subject", String(400), nullable=False, index=True),
    Column("details", JSON, nullable=False),
    Column("previous", String(64), nullable=False),  # the digest of the line before it
    Column("digest", String(64), nullable=False),
)

hand_overs: Final = Table(
    "hand_overs",
    metadata,
    Column("job_id", _ID, ForeignKey("jobs.id"), primary_key=True),
    Column("instance", String(256), nullable=False),  # the target's id of the machine
    Column("state", String(20), nullable=False, index=True),
    Column("changed", Float, nullable=False),
    Column("trouble", Text, nullable=False),
)

episodes: Final = Table(
    "episodes",
    metadata,
    Column("event", String(40), primary_key=True),
    Column("subject", _ID, primary_key=True),
    Column("about", JSON, nullable=False),  # kind, name and workgroup of the subject, and the figures
    Column("entry", BigInteger, nullable=False),  # in `events`, of what happened at one moment; else 0
    Column("began", Float, nullable=False),
    Column("seen", Float, nullable=False),
    Column("told", Float, nullable=True),  # null: nobody heard of it yet
    Column("over", Float, nullable=True),  # null: it goes on
    Column("before", Float, nullable=True),  # when the episode before it ended
    Column("count", Integer, nullable=False),  # notifications, in all episodes
)

notifications: Final = Table(
    "notifications",
    metadata,
    Column("id", _ID, primary_key=True),  # the same whoever decides it
    Column("event", String(40), nullable=False),
    Column("subject", _ID, nullable=False),
    Column("phase", String(20), nullable=False),
    Column("began", Float, nullable=False),  # of its episode
    Column("created", Float, nullable=False, index=True),
    Column("document", Text, nullable=False),  # what is sent, byte by byte
)

deliveries: Final = Table(
    "deliveries",
    metadata,
    Column("notification_id", _ID, ForeignKey("notifications.id"), primary_key=True),
    Column("recipient", _ID, primary_key=True),  # its name in the settings
    Column("event", String(40), nullable=False),  # of the notification, as the subject
    Column("subject", _ID, nullable=False),
    Column("number", Integer, nullable=False),  # of the notification in its episode: 1 is the first
    Column("state", String(20), nullable=False),
    Column("created", Float, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("not_before", Float, nullable=False),  # no attempt is made earlier
    Column("claimed_until", Float, nullable=False),  # until then one process makes an attempt
    Column("trouble", Text, nullable=False),  # why the last attempt failed
    Column("ended", Float, nullable=True, index=True),
    Index("ix_deliveries_state", "state", "recipient", "number"),
    Index("ix_deliveries_subject", "subject", "event", "recipient", "number"),
)

log_position: Final = Table(
    "log_position",
    metadata,
    Column("id", Integer, primary_key=True),  # 1: there is one
    Column("first", BigInteger, nullable=False),  # entries of `events` up to it are older than notifications
    Column("entry", BigInteger, nullable=False),  # entries up to it were looked at
)

epochs: Final = Table(
    "epochs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("number", Integer, nullable=False, unique=True),
    Column("sequence", BigInteger, nullable=False),  # grows with each write that has consequences
    Column("writer", String(16), nullable=False),  # which process made the last write
    Column("began", Float, nullable=False),
    Column("ended", Float, nullable=True),  # null: the current one
    Column("restored", Text, nullable=False, server_default=""),  # why the state is held; empty if it is not
    Column("restored_at", Float, nullable=True),
    Column("heard", Integer, nullable=False, server_default="0"),  # the highest epoch number that a peer knew
    Column("engine", BigInteger, nullable=True),  # the engine's database has at least this sequence
)

writers: Final = Table(
    "writers",
    metadata,
    Column("id", String(16), primary_key=True),  # one for each process that ever wrote
    Column("last", BigInteger, nullable=False),  # the sequence of its last write
)
