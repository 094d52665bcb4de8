"""Every field of a migration job is defined once: its names, kind, default, and when it may be changed. Data only.

The parameters of the public API, their checks and their echo, the options of the command line, the keys of manifests, the
console's form and `docs/job-fields.md` are made from `JOB_FIELDS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from connector.specification import bounds, image_formats, kinds
from connector.specification.value import Flag, Fraction, Kind, Moment, OneOf, Text, Whole

#: The states in which a field may be changed, in the public API's words: a status, or a status and a business status.
NEVER: Final = ()
BEFORE: Final = ("Ready",)
AT_REST: Final = ("Ready", "Stopped", "InError", "Waiting")
UNFINISHED: Final = ("Ready", "Running", "Stopped", "InError", "Waiting")
ALIVE: Final = (*UNFINISHED, "Finished", "Expired")
BETWEEN_RUNS: Final = ("Ready", "Waiting")
WHILE_SYNCING: Final = (*AT_REST, "Running/Syncing")

_WORD: Final = Text(0, 256)


@dataclass(frozen=True, slots=True)
class JobField:
    """One field of a job.

    `name`: in the public API. `option`: on the command line. `key`: in a manifest, below `defaults` and each machine, with a
    dot for each level. `label`: in the console's form. An empty name means that the field does not exist there.
    `column`: where the store keeps its value; empty: in the job's definition, under `name`.
    `default`: what is echoed for a field without a value; None: nothing.
    `changes`: the states in which the field may be changed. `part_of`: the parameter that contains this field.
    `parameter`: CreateReplicationJob takes it; else a separate operation sets it. `echoed`: DescribeReplicationJobs shows it
    under its name; lists have their own shapes there. `metavar`: the name of the option's value in `--help`.
    `needs`: an ability that not every provider has. `ours`: the service has no such parameter.
    """

    name: str
    kind: Kind
    help: str
    default: Any = None
    option: str = ""
    metavar: str = ""
    key: str = ""
    label: str = ""
    column: str = ""
    changes: tuple[str, ...] = BEFORE
    required: bool = False
    part_of: str = ""
    echoed: bool = True
    parameter: bool = True
    needs: str = ""
    ours: bool = False


def _within(limits: range, unit: str = "") -> Whole:
    return Whole(limits[0], limits[-1], unit)


JOB_FIELDS: Final = (
    JobField(
        "RegionId", Text(1, 80), "Where to.", option="--region", key="target.region", label="Destination region",
        column="region", changes=NEVER, required=True,
    ),
    JobField("SourceId", kinds.ID, "The source server.", column="source_id", changes=NEVER, required=True),
    JobField(
        "ClientToken", kinds.TOKEN, "The same token answers the same job.", column="client_token", changes=NEVER,
        echoed=False,
    ),
    JobField(
        "Name", kinds.NAME, "The job's name, unique. Default: made from the source's name.", option="--name",
        label="Name", column="name", changes=ALIVE,
    ),
    JobField(
        "Description", kinds.DESCRIPTION, "A description.", default="", option="--description", label="Description",
        column="description", changes=ALIVE,
    ),
    JobField(
        "JobType", Whole(0, 3), "3, agentless migration, the default; 0, 1 and 2 are refused.", default=3,
        column="job_type", changes=NEVER,
    ),
    JobField(
        "RunOnce", Flag(), "One run; false: a run again and again until the cutover. Default: true.", default=True,
        key="incremental", column="run_once", changes=NEVER,
    ),
    JobField(
        "LicenseType", OneOf(("", "BYOL")), "BYOL, when you bring your own licence.", default="", option="--license",
        key="target.licence", label="Licence", changes=NEVER,
    ),
    JobField(
        "ImageName", kinds.NAME, "The image's name. Default: the job's; one that is taken gets the job's id appended.",
        option="--image-name", key="target.imageName", label="Image name", column="image_name",
    ),
    JobField(
        "ImageFormat", OneOf(image_formats.NAMES),
        "Format of the image's files; a disk that it cannot hold is refused. Default: qcow2.",
        default=image_formats.DEFAULT.name, option="--format", key="imageFormat", label="Image format",
        column="image_format", changes=AT_REST, needs="image files", ours=True,
    ),
    JobField(
        "Conversion", OneOf(("none", "dhcp", "keep")),
        "Make a converted copy beside each image, which starts on virtio hardware. dhcp: its first card asks DHCP;"
        " keep: addresses stay with their cards. Default: none.",
        default="none", option="--convert", key="conversion", label="Convert a copy", changes=AT_REST, needs="conversion",
        ours=True,
    ),
    JobField(
        "BootCheck", Flag(), "Start a copy of each image, and say how far it comes. Default: false.", default=False,
        option="--boot-check", key="bootCheck", label="Start a copy of each image", changes=AT_REST, needs="conversion",
        ours=True,
    ),
    JobField(
        "InstanceId", _WORD, "The target instance: a machine in the target whose disks the image replaces. Its former disks are"
        " kept.",
        default="", option="--target-instance", metavar="ID", key="target.instance", label="Target instance",
    ),
    JobField(
        "StopTargetInstance", Flag(), "A target instance that runs is stopped; otherwise it is refused. Default: false.",
        default=False, option="--stop-target-instance", key="stopTargetInstance", label="Stop the target instance if it runs",
        changes=AT_REST, ours=True,
    ),
    JobField("InstanceRamRole", _WORD, "RAM role of the intermediate instance.", default="", key="target.ramRole"),
    JobField(
        "InstanceType", _WORD, "Type of the intermediate instance; one that is not to be had is refused.", default="",
        option="--instance-type", key="target.instanceType", label="Instance type",
    ),
    JobField("LaunchTemplateId", _WORD, "Kept and echoed.", default=""),
    JobField("LaunchTemplateVersion", _WORD, "Kept and echoed.", default=""),
    JobField(
        "NetMode", Whole(0, 2), "0: internet, the default. 2: VPC, which needs a vSwitch.", default=0,
        key="target.network.mode", label="Network",
    ),
    JobField("VpcId", _WORD, "VPC of the intermediate instance.", default="", key="target.network.vpc"),
    JobField(
        "VSwitchId", _WORD, "Run in this vSwitch of a VPC.", default="", option="--vswitch", key="target.network.vswitch",
        label="vSwitch",
    ),
    JobField(
        "ReplicationParameters", kinds.REPLICATION, "How data is moved; also while Syncing.", default="", key="replication",
        changes=WHILE_SYNCING,
    ),
    JobField(
        "bandwidth_limit", Whole(0, 1 << 31, "Mbit/s"), "Limit of the transfer; 0: none, the default.", option="--bandwidth",
        metavar="MBIT", key="bandwidth", label="Speed limit, Mbit/s", changes=WHILE_SYNCING, part_of="ReplicationParameters",
    ),
    JobField(
        "compress_level", Whole(0, 10), "Level; 0 is none. Default: as the link and the processor allow.",
        option="--compression", metavar="LEVEL", key="replication.compression", label="Compression level",
        changes=WHILE_SYNCING, part_of="ReplicationParameters",
    ),
    JobField(
        "checksum", Whole(0, 1), "1: a pass that was interrupted after its proof reads the target again.",
        key="replication.checksum", changes=WHILE_SYNCING, part_of="ReplicationParameters",
    ),
    JobField(
        "ScheduledStartTime", Moment(),
        f"Begin by itself: yyyy-MM-ddTHH:mm:ssZ, in UTC, within {bounds.DAYS_AHEAD} days.", default="",
        option="--start-at", metavar="TIME", label="Scheduled start, UTC", column="scheduled_start",
    ),
    JobField(
        "ValidTime", Moment(),
        f"{bounds.words(bounds.DAYS_VALID)} days after its creation. Default: {bounds.DEFAULT_DAYS_VALID} days.", default="",
        option="--valid-until", metavar="TIME", key="validFor", column="valid_until", changes=UNFINISHED,
    ),
    JobField(
        "OnDemand", Flag(),
        "Of an incremental job: a run begins only when asked for, and every image is kept. Default: false.",
        default=False, option="--on-demand", key="onDemand", label="Runs only when asked for", changes=BETWEEN_RUNS,
        ours=True,
    ),
    JobField(
        "Frequency", _within(bounds.HOURS_BETWEEN_RUNS, "hours"), "Hours from the end of a run to the next one.",
        option="--every", metavar="HOURS", key="incremental.every", label="Hours between two runs",
        column="frequency", changes=BETWEEN_RUNS,
    ),
    JobField(
        "MaxNumberOfImageToKeep", _within(bounds.IMAGES_KEPT), "So many images of an incremental job are kept.",
        option="--keep", metavar="N", key="incremental.keep", label="Images to keep", column="max_images", changes=BETWEEN_RUNS,
    ),
    JobField(
        "TargetType", kinds.TARGET,
        "Image, or TargetInstance: the image also goes onto the disks of InstanceId (jobs that run once)."
        " ContainerImage is refused.", default="Image",
        key="target.type",
    ),
    JobField("ContainerNamespace", _WORD, "Refused: blocks are copied, not files.", default=""),
    JobField("ContainerRepository", _WORD, "Refused.", default=""),
    JobField("ContainerTag", _WORD, "Refused.", default=""),
    JobField(
        "SystemDiskSize", Whole(20, 2048, "GiB"), "A larger system disk.", option="--system-disk-size", metavar="GIB",
        key="disks.sizes", label="System disk, GiB",
    ),
    JobField("SystemDiskPart", kinds.SYSTEM_PARTS.kind, "", echoed=False),
    JobField(
        "DataDisk", kinds.DATA_DISKS.kind, "Only for a source with data disks.", option="--data-disk", metavar="INDEX=GIB",
        key="disks.sizes", label="Data disk", echoed=False,
    ),
    JobField("Disks", kinds.DISKS.kind, "", changes=NEVER, echoed=False),
    JobField(
        "LeftOutDisks", kinds.ID, "Keys of the disks that stay behind; SetReplicationJobDisks sets them.", key="disks",
        parameter=False, echoed=False, ours=True,
    ),
    JobField(
        "ShutdownDeadline", Whole(1, 86400, "seconds"), "Seconds that a guest gets to shut down at the cutover.", default=600,
        option="--shutdown-deadline", metavar="SECONDS", key="shutdownDeadline", label="Time to shut down, seconds",
        column="shutdown_deadline", changes=AT_REST, ours=True,
    ),
    JobField(
        "AllowPowerOff", Flag(), "Power off a guest that does not shut down in time. Default: false.", default=False,
        option="--power-off", key="allowPowerOff", label="Power off a guest that does not shut down in time",
        column="allow_power_off", changes=AT_REST, ours=True,
    ),
    JobField(
        "Quiesce", OneOf(("off", "try", "require")),
        "Snapshots with quiesced file systems. try: without, when that fails. Default: off.", default="off",
        option="--quiesce", key="quiesce", label="Quiesced snapshots", column="quiesce", changes=AT_REST, ours=True,
    ),
    JobField(
        "Audit", Fraction(), "Share of what CBT calls unchanged that each delta reads and compares, as 0.1% or 100%."
        " Default: as the appliance is configured.", default="",
        option="--audit", metavar="SHARE", key="audit", label="Share to read again, as 0.1%", column="audit",
        changes=AT_REST, ours=True,
    ),
    JobField(
        "AcceptRemovedDisks", Flag(),
        "A disk that was taken out of the machine since the last run leaves the migration, too. Default: false.",
        default=False, option="--accept-removed-disks", key="acceptRemovedDisks",
        label="Accept that a disk was taken out of the machine", column="accept_removed_disks", changes=AT_REST, ours=True,
    ),
    JobField(
        "CutoverBandwidthLimit", Whole(0, 1_000_000, "Mbit/s"),
        "Limit of the transfer while the source is shut down; 0: none, the default.", default=0,
        option="--cutover-bandwidth", metavar="MBIT", key="cutoverBandwidth",
        label="Speed limit at the cutover, Mbit/s", changes=UNFINISHED, ours=True,
    ),
    JobField(
        "Reader", OneOf(("auto", "vddk", "nfc", "https")),
        "What reads the disks: vddk is VMware's library, nfc reads from the hosts without it, https reads files through vCenter."
        " auto: the first of them that the appliance has; another one may finish what it cannot. Default: auto.",
        default="auto", option="--reader", key="reader", label="What reads the disks", changes=AT_REST, ours=True,
    ),
    JobField("Tag", kinds.tags(), "Tags of the job.", option="--tag", metavar="KEY[=VALUE]", key="labels", column="tags",
             changes=NEVER, echoed=False),
    JobField(
        "ResourceGroupId", _WORD, "Kept and echoed.", default="", column="resource_group", changes=NEVER,
    ),
)  # fmt: skip

#: What else can be done about an ability that a provider lacks.
NEEDS: Final = {
    "conversion": ", or install python3-guestfs, libguestfs-tools, qemu-system-x86 and ovmf on the control plane's computer"
    " and start it again (provider local), or set `conversion: true` in the section alibaba",
}

BY_NAME: Final = {field.name: field for field in JOB_FIELDS}
