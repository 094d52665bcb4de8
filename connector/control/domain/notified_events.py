"""Everything that a notification can be about is a row of `EVENTS`. Data only; docs/notifications.md shows it.

Thresholds are those of the alert rules in config/prometheus/alerts.yaml: a test compares them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from connector.amounts import span

MINUTE: Final = 60.0
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

#: Seconds without a heartbeat.
SILENT: Final = 120.0
#: Seconds that a source may be down when there is no forecast.
DOWN: Final = HOUR
#: Seconds before the end of a job's validity.
EXPIRES: Final = DAY
#: Seconds that a snapshot may be open.
OPEN: Final = 2 * DAY
#: Free share of a datastore, and the share from which it counts as free again.
FREE: Final = 0.08
FREE_AGAIN: Final = 0.1
#: Seconds before the end of a certificate.
ENDS: Final = 30 * DAY


class EventSeverity(StrEnum):
    """How urgent a notification is, in the words of the alert rules."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        return list(EventSeverity).index(self)


class SubjectKind(StrEnum):
    """What an event is about."""

    JOB = "job"
    APPLIANCE = "appliance"
    CONTROL_PLANE = "control-plane"


@dataclass(frozen=True, slots=True)
class NotifiedEvent:
    """One row. `text` names figures in braces, nothing else. `over`: when it ends; empty for what happens at one moment.

    `hold`: seconds that it must be true before it is told. `settle`: seconds that it must be untrue before it is over.
    `reminder`: seconds until it is told again while it is true. `rules`: alert rules with the same threshold and `hold`.
    """

    id: str
    severity: EventSeverity
    about: SubjectKind
    raised: str
    over: str
    title: str
    text: str
    remedy: str
    hold: float = 0.0
    settle: float = 5 * MINUTE
    reminder: float = DAY
    rules: tuple[str, ...] = ()

    @property
    def is_moment(self) -> bool:
        """Whether it happens once, and is never over."""
        return not self.over


EVENTS: Final = (
    NotifiedEvent(
        "source-down",
        EventSeverity.CRITICAL,
        SubjectKind.JOB,
        "a cutover has shut the source down, and nothing is under way that ends it; or it takes longer than predicted;"
        f" or, without a prediction, longer than {span(DOWN)}",
        "the cutover or a rollback has ended",
        "SOURCE IS DOWN longer than forecast",
        "The source of job {job} is down for {down_seconds}; {forecast}. {work}.",
        "See how far the cutover is (connector job show); resume it (connector job start) or roll it back"
        " (connector job rollback).",
        hold=5 * MINUTE,
        settle=MINUTE,
        reminder=HOUR,
        rules=("ConnectorSourceIsDownAtRest", "ConnectorCutoverIsLate"),
    ),
    NotifiedEvent(
        "state-held",
        EventSeverity.CRITICAL,
        SubjectKind.CONTROL_PLANE,
        "the control plane's state was restored and waits for its confirmation",
        "the restore is confirmed",
        "The control plane begins nothing: its state was restored",
        "The state of the control plane was restored and is held: nothing is started, shut down, deleted or enrolled.",
        "Read connector control status, compare with vCenter and the cloud, then run connector control confirm.",
        settle=MINUTE,
        rules=("ConnectorStateHeld",),
    ),
    NotifiedEvent(
        "datastore-filling",
        EventSeverity.CRITICAL,
        SubjectKind.JOB,
        f"a datastore of the machine has less than {FREE:.0%} free while our snapshot is open, as the appliance reports",
        f"it has {FREE_AGAIN:.0%} free again, or the pass has ended",
        "A datastore fills while a snapshot is open",
        "A datastore of the machine of job {job} has {free_ratio} free while its snapshot is open.",
        "Make room on the datastore. The governor gives the snapshot back before it is full, and the pass resumes later.",
        hold=2 * MINUTE,
        rules=("ConnectorDatastoreFills",),
    ),
    NotifiedEvent(
        "job-failed",
        EventSeverity.WARNING,
        SubjectKind.JOB,
        "a run of a job has failed: the job is InError",
        "",
        "A job has failed",
        "Job {job} is InError with {error}. Its position is kept.",
        "connector job show says why, docs/errors.md what to do; then start the job again.",
    ),
    NotifiedEvent(
        "job-finished",
        EventSeverity.INFO,
        SubjectKind.JOB,
        "a job is Finished: it runs once, or its cutover is done",
        "",
        "A job is finished",
        "Job {job} is Finished.",
        "Check the machine in the target; connector job show names its image.",
    ),
    NotifiedEvent(
        "cutover-due",
        EventSeverity.WARNING,
        SubjectKind.JOB,
        f"an incremental job that is not under way expires within {span(EXPIRES)}, and was not cut over",
        "it is cut over, deleted, has expired, or has a later ValidTime",
        "The cutover of a job is due",
        "Job {job} expires at {expires_timestamp} and is not cut over. An expired job loses its intermediate instance.",
        "Cut it over (connector job cutover), or give it a later ValidTime.",
        rules=("ConnectorJobsExpire",),
    ),
    NotifiedEvent(
        "job-expires",
        EventSeverity.WARNING,
        SubjectKind.JOB,
        f"a job that runs once and is not under way expires within {span(EXPIRES)}",
        "it is started, deleted, has expired, or has a later ValidTime",
        "A job expires",
        "Job {job} expires at {expires_timestamp}. An expired job loses its intermediate instance and what it has copied.",
        "Start it (connector job start), or give it a later ValidTime.",
        rules=("ConnectorJobsExpire",),
    ),
    NotifiedEvent(
        "will-not-converge",
        EventSeverity.WARNING,
        SubjectKind.JOB,
        "each of the last two deltas took longer to read than the time in which its changes came up",
        "a delta was faster, or the job is cut over, stopped or over",
        "The deltas of a job do not become smaller",
        "The source of job {job} changes by {change_rate}, and its last delta was read at {reading_rate}:"
        " the next delta will be no smaller.",
        "See what limits the pass (connector job show) and raise it; or cut over when the machine writes less.",
    ),
    NotifiedEvent(
        "snapshot-too-old",
        EventSeverity.WARNING,
        SubjectKind.JOB,
        f"a snapshot of ours is open for more than {span(OPEN)}",
        "it is removed",
        "A snapshot is too old",
        "A snapshot of job {job} is open for {open_seconds}. VMware advises against more than 72 hours.",
        "See why its pass is slow (connector job show). If the pass has ended, the job's log says why it is not removed.",
        rules=("ConnectorSnapshotIsOld",),
    ),
    NotifiedEvent(
        "certificate-ending",
        EventSeverity.WARNING,
        SubjectKind.CONTROL_PLANE,
        f"the control plane's own certificate ends in less than {span(ENDS)}",
        "it shows a certificate that ends later",
        "The control plane's certificate ends",
        "The certificate of the control plane ends at {ends_timestamp}.",
        "A new certificate has another thumbprint: appliances and people who pin it must get the new one. Plan the day.",
        hold=HOUR,
        rules=("ConnectorCertificateEnds",),
    ),
    NotifiedEvent(
        "appliance-silent",
        EventSeverity.WARNING,
        SubjectKind.APPLIANCE,
        f"an approved appliance has sent no heartbeat for {span(SILENT)}",
        "it sends heartbeats again, or is revoked",
        "An appliance is silent",
        "The appliance {appliance} has sent no heartbeat for {silence_seconds}.",
        "See whether it runs and reaches the control plane. Another appliance of its vCenter takes its passes meanwhile.",
        hold=3 * MINUTE,
        settle=2 * MINUTE,
        rules=("ConnectorApplianceSilent",),
    ),
)

BY_ID: Final = {event.id: event for event in EVENTS}


def table() -> str:
    """The events as a Markdown table."""
    lines = [
        "| event | severity | is told when | is over when | told after | again |",
        "|---|---|---|---|---|---|",
    ]
    for event in EVENTS:
        hold = span(event.hold) if event.hold else "at once"
        over = (
            (event.over, hold, span(event.reminder)) if event.over else ("never: it is told once", hold, "")
        )
        lines.append(f"| `{event.id}` | {event.severity} | {event.raised} | {' | '.join(over)} |")
    return "\n".join(lines)
