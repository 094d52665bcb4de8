"""Every metric of every service: name, type, help, labels, and where it comes from. Data only; docs/metrics.md shows it."""

from __future__ import annotations

from typing import Final

from connector.metrics.rows import MetricKind, MetricOrigin, MetricRow

_GAUGE, _COUNTER, _HISTOGRAM = MetricKind.GAUGE, MetricKind.COUNTER, MetricKind.HISTOGRAM
_DATABASE: Final = MetricOrigin.DATABASE

#: Seconds of an operation of vCenter that stuns a machine.
_STUN: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
#: Seconds until written bytes are on stable storage.
_FLUSH: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)

_TAKEN: Final = "one for each pass that an appliance has: limit `passes`"
_DOWN: Final = "one for each unfinished job whose cutover has shut its source down"
_OWN_PASSES: Final = "one for each pass that this appliance carries out: `passes` and 8 power tasks"

SERVICE: Final = (
    MetricRow(
        "connector_build_info",
        _GAUGE,
        "1; the version and the role of this process",
        "the program",
        ("version", "role"),
    ),
    MetricRow(
        "connector_ready", _GAUGE, "1 when the service manager was told that this service is ready", "/readyz"
    ),
    MetricRow("connector_healthy", _GAUGE, "1 while the main loop and the loops beside it turn", "/healthz"),
    MetricRow("connector_threads", _GAUGE, "Threads of this process", "the interpreter"),
    MetricRow(
        "connector_certificate_not_after_timestamp_seconds",
        _GAUGE,
        "When a certificate of this service ends",
        "the service's own certificate",
        ("certificate",),
    ),
    MetricRow(
        "connector_metric_series_left_out",
        _GAUGE,
        "Series that this answer left out, at least, because a metric had too many",
        "this answer",
        ("metric",),
    ),
)

CONTROL: Final = (
    MetricRow(
        "connector_control_database_up",
        _GAUGE,
        "1 when the database answered within the time of a scrape; without it figures of the database are absent",
        "the scrape",
    ),
    MetricRow(
        "connector_control_database_query_seconds",
        _GAUGE,
        "Time that the database took for the figures of this answer",
        "the scrape",
    ),
    MetricRow(
        "connector_control_runner_active",
        _GAUGE,
        "1 in the process that moves the jobs; 0 in its replicas",
        "the runner",
    ),
    MetricRow(
        "connector_control_state_held",
        _GAUGE,
        "1 while a restored state waits for its confirmation: nothing begins",
        "the epoch",
        origin=_DATABASE,
    ),
    MetricRow(
        "connector_control_epoch",
        _GAUGE,
        "Number of the epoch; it grows with each confirmed restore",
        "the epoch",
        origin=_DATABASE,
    ),
    MetricRow(
        "connector_control_jobs",
        _GAUGE,
        "Jobs by status and business status; deleted ones are left out",
        "jobs",
        ("status", "business"),
        _DATABASE,
    ),
    MetricRow(
        "connector_control_failed_jobs",
        _GAUGE,
        "Jobs that are InError, by the id of their error (docs/errors.md)",
        "jobs",
        ("error",),
        _DATABASE,
    ),
    MetricRow(
        "connector_control_expiring_jobs",
        _GAUGE,
        "Jobs that become Expired within so many seconds",
        "jobs",
        ("within",),
        _DATABASE,
    ),
    MetricRow(
        "connector_control_next_expiry_timestamp_seconds",
        _GAUGE,
        "When the next job expires; absent while none does",
        "jobs",
        origin=_DATABASE,
    ),
    MetricRow(
        "connector_control_sources",
        _GAUGE,
        "Registered sources by state; deleted ones are left out",
        "sources",
        ("state",),
        _DATABASE,
    ),
    MetricRow(
        "connector_control_passes",
        _GAUGE,
        "Passes that have not ended, by state and task",
        "passes",
        ("state", "task"),
        _DATABASE,
    ),
    MetricRow(
        "connector_control_waiting_passes",
        _GAUGE,
        "Offered passes by what they wait for",
        "passes, and `waiting` of their jobs",
        ("reason",),
        _DATABASE,
    ),
    MetricRow(
        "connector_control_oldest_waiting_pass_seconds",
        _GAUGE,
        "Age of the oldest offered pass; 0 when none is offered",
        "passes",
        origin=_DATABASE,
    ),
    MetricRow(
        "connector_control_pass_seconds",
        _GAUGE,
        "Time since an appliance took this pass",
        "passes",
        ("job_id", "task"),
        _DATABASE,
        _TAKEN,
    ),
    MetricRow(
        "connector_control_pass_planned_bytes",
        _GAUGE,
        "What a running pass has to copy, as its plan is now",
        "the appliance's report",
        ("job_id",),
        _DATABASE,
        _TAKEN,
    ),
    MetricRow(
        "connector_control_pass_durable_bytes",
        _GAUGE,
        "The part of the plan of a running pass that is durable at the target",
        "the appliance's report",
        ("job_id",),
        _DATABASE,
        _TAKEN,
    ),
    MetricRow(
        "connector_control_pass_rate_bytes_per_second",
        _GAUGE,
        "Bytes of the plan that became durable per second, over the last seconds",
        "the appliance's report",
        ("job_id",),
        _DATABASE,
        _TAKEN,
    ),
    MetricRow(
        "connector_control_pass_bottleneck",
        _GAUGE,
        "1; what limits a running pass",
        "the appliance's report",
        ("job_id", "bottleneck"),
        _DATABASE,
        _TAKEN,
    ),
    MetricRow(
        "connector_control_runs_ended_last_hour",
        _GAUGE,
        "Runs that ended in the last hour, by kind and outcome",
        "runs",
        ("kind", "outcome"),
        _DATABASE,
    ),
    MetricRow(
        "connector_control_open_snapshots",
        _GAUGE,
        "Snapshots of ours that are recorded and not removed",
        "objects",
        origin=_DATABASE,
    ),
    MetricRow(
        "connector_control_oldest_snapshot_seconds",
        _GAUGE,
        "Age of the oldest snapshot of ours; 0 when none is open",
        "objects",
        origin=_DATABASE,
    ),
    MetricRow(
        "connector_control_open_snapshot_seconds",
        _GAUGE,
        "Age of an open snapshot, the oldest of its job",
        "objects",
        ("job_id",),
        _DATABASE,
        "one for each job with a snapshot that is not removed",
    ),
    MetricRow(
        "connector_control_leftovers",
        _GAUGE,
        "Objects of ours that could not be removed so far",
        "objects",
        ("place",),
        _DATABASE,
    ),
    MetricRow(
        "connector_control_sources_down",
        _GAUGE,
        "SOURCE IS DOWN: machines that a cutover has shut down, until it or a rollback ends",
        "jobs",
        origin=_DATABASE,
    ),
    MetricRow(
        "connector_control_source_down_since_timestamp_seconds",
        _GAUGE,
        "Since when the source of this job is down",
        "jobs",
        ("job_id",),
        _DATABASE,
        _DOWN,
    ),
    MetricRow(
        "connector_control_source_down_at_rest",
        _GAUGE,
        "1 when the source of this job is down and nothing is under way that ends it",
        "jobs",
        ("job_id",),
        _DATABASE,
        _DOWN,
    ),
    MetricRow(
        "connector_control_source_back_in_seconds",
        _GAUGE,
        "Forecast: until the cutover of this job ends; below 0 when it takes longer than predicted",
        "jobs",
        ("job_id",),
        _DATABASE,
        _DOWN,
    ),
    MetricRow(
        "connector_control_predicted_downtime_seconds",
        _GAUGE,
        "Downtime as predicted when the cutover of this job began",
        "jobs",
        ("job_id",),
        _DATABASE,
        "one for each job whose cutover is under way",
    ),
    MetricRow(
        "connector_control_job_info",
        _GAUGE,
        "1; the name of a job that another metric names by its id",
        "jobs",
        ("job_id", "name"),
        _DATABASE,
        "one for each job with a running pass, an open snapshot or a source that is down",
    ),
    MetricRow(
        "connector_control_appliances",
        _GAUGE,
        "Appliances by state",
        "appliances",
        ("state",),
        _DATABASE,
    ),
    MetricRow(
        "connector_control_appliance_silence_seconds",
        _GAUGE,
        "Time since the last heartbeat of an approved appliance",
        "appliances",
        ("appliance",),
        _DATABASE,
        "one for each approved appliance",
    ),
    MetricRow(
        "connector_control_drills",
        _GAUGE,
        "Drills that wait or run",
        "drills",
        ("state",),
        _DATABASE,
    ),
)

APPLIANCE: Final = (
    MetricRow(
        "connector_appliance_passes",
        _GAUGE,
        "Passes that this appliance carries out, by task",
        "the agent",
        ("task",),
    ),
    MetricRow(
        "connector_appliance_pass_limit",
        _GAUGE,
        "Passes that read at a time, at most",
        "`passes` of the configuration",
    ),
    MetricRow(
        "connector_appliance_passes_ended_total",
        _COUNTER,
        "Passes that this appliance has ended, by task and outcome",
        "the agent",
        ("task", "outcome"),
    ),
    MetricRow(
        "connector_appliance_errors_total",
        _COUNTER,
        "Passes that ended with an error, by its id (docs/errors.md)",
        "the agent",
        ("error",),
    ),
    MetricRow(
        "connector_appliance_read_bytes_total",
        _COUNTER,
        "Bytes that passes read from sources, without audits; broken connections count too",
        "the sender of each disk",
    ),
    MetricRow(
        "connector_appliance_sent_bytes_total",
        _COUNTER,
        "Bytes of data that passes sent, before compression",
        "the sender of each disk",
    ),
    MetricRow(
        "connector_appliance_not_sent_bytes_total",
        _COUNTER,
        "Bytes that were read and not sent: zeros, or what the target held already",
        "the sender of each disk",
        ("reason",),
    ),
    MetricRow(
        "connector_appliance_wire_bytes_total",
        _COUNTER,
        "Bytes on the wire to instances, after compression, with TLS",
        "the sender of each disk",
    ),
    MetricRow(
        "connector_appliance_pass_rate_bytes_per_second",
        _GAUGE,
        "Bytes of the plan that became durable per second, over the last seconds",
        "the progress of a pass",
        ("job_id",),
        bound=_OWN_PASSES,
    ),
    MetricRow(
        "connector_appliance_pass_bottleneck",
        _GAUGE,
        "1; what limits a running pass: its disk with the most bytes left",
        "the progress of a pass",
        ("job_id", "bottleneck"),
        bound=_OWN_PASSES,
    ),
    MetricRow(
        "connector_appliance_open_snapshot_seconds",
        _GAUGE,
        "Age of the snapshot of a running pass",
        "the guard",
        ("job_id",),
        bound=_OWN_PASSES,
    ),
    MetricRow(
        "connector_appliance_open_snapshot_bytes",
        _GAUGE,
        "Size of the delta of the snapshot of a running pass; its growth is what its guests write",
        "the guard",
        ("job_id",),
        bound=_OWN_PASSES,
    ),
    MetricRow(
        "connector_appliance_datastore_free_ratio",
        _GAUGE,
        "Free share of the fullest datastore of the machine of a running pass, 0 to 1",
        "the guard",
        ("job_id",),
        bound=_OWN_PASSES,
    ),
    MetricRow(
        "connector_appliance_snapshot_create_seconds",
        _HISTOGRAM,
        "Duration of the creation of a snapshot: an upper bound of the stun",
        "the snapshots of passes that are done",
        buckets=_STUN,
    ),
    MetricRow(
        "connector_appliance_snapshot_remove_seconds",
        _HISTOGRAM,
        "Duration of the removal of a snapshot: an upper bound of the stun",
        "the snapshots of passes that are done",
        buckets=_STUN,
    ),
    MetricRow(
        "connector_appliance_peer_up",
        _GAUGE,
        "0 while a peer does not answer",
        "the calls of this appliance",
        ("peer",),
    ),
    MetricRow(
        "connector_appliance_peer_silence_seconds",
        _GAUGE,
        "Time since the first call that a peer did not answer; 0 while it answers",
        "the calls of this appliance",
        ("peer",),
    ),
)

INSTANCE: Final = (
    MetricRow("connector_instance_disks", _GAUGE, "Disks of this instance", "the store"),
    MetricRow(
        "connector_instance_unusable_disks",
        _GAUGE,
        "Disks that exist and cannot be opened for now",
        "the store",
    ),
    MetricRow("connector_instance_capacity_bytes", _GAUGE, "Capacity of all open disks", "the store"),
    MetricRow(
        "connector_instance_free_bytes", _GAUGE, "Free space of the instance's directory", "the file system"
    ),
    MetricRow("connector_instance_size_bytes", _GAUGE, "Size of that file system", "the file system"),
    MetricRow(
        "connector_instance_durable_bytes_total",
        _COUNTER,
        "Bytes that were made durable and acknowledged, by what was delivered",
        "the commits of windows",
        ("delivered",),
    ),
    MetricRow(
        "connector_instance_flush_seconds",
        _HISTOGRAM,
        "Duration of a flush of a target",
        "the commits of windows",
        buckets=_FLUSH,
    ),
    MetricRow(
        "connector_instance_journal_seconds",
        _HISTOGRAM,
        "Duration of an append to a journal, until it is on stable storage",
        "the commits of windows",
        buckets=_FLUSH,
    ),
    MetricRow(
        "connector_instance_connections",
        _GAUGE,
        "Connections of appliances that carry blocks",
        "the block port",
    ),
    MetricRow(
        "connector_instance_connection_limit",
        _GAUGE,
        "Connections that carry blocks, at most",
        "the block port",
    ),
)

#: By the role of a process: what it answers.
TABLES: Final = {
    "control": (*SERVICE, *CONTROL),
    "appliance": (*SERVICE, *APPLIANCE),
    "instance": (*SERVICE, *INSTANCE),
}
