"""Operations on existing instances: their states, addresses, and deletion."""

from __future__ import annotations

import base64
import binascii
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, Final

from simulator.cloud import disks, groups, snapshots
from simulator.cloud.codes import Refused, invalid
from simulator.cloud.networks import tagged, utc
from simulator.cloud.parameters import Parameters
from simulator.cloud.region import Region
from simulator.cloud.resources import Eip, Instance

Answer = dict[str, Any]
_USER_DATA: Final = 32 << 10
_CONSOLE: Final = 64 << 10  # bytes of a console that are kept
_PICTURE: Final = (
    b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00\xff\xd9"  # the frame of a JPEG
)


def status(region: Region, instance: Instance) -> str:
    """Pending, Starting, Running, Stopping or Stopped."""
    age, timing = region.age(instance.since), region.timing
    if instance.goal == "Stopped":
        return "Stopped" if region.boot.is_off(instance) else "Stopping"
    pending = 0.0 if instance.started_before else timing.pending
    if age < pending:
        return "Pending"
    return "Starting" if age < pending + timing.starting else "Running"


def user_data(parameters: Parameters) -> bytes:
    """Decoded. Raises Refused when it is no base64, or too long."""
    try:
        content = base64.b64decode(parameters.text("UserData"), validate=True)
    except binascii.Error:
        raise invalid("UserData", "base64") from None
    if len(content) > _USER_DATA:
        raise Refused("InvalidUserData.SizeExceeded")
    return content


def eip_of(region: Region, instance: Instance) -> Eip | None:
    return next((eip for eip in region.eips if eip.instance == instance.id), None)


def power_on(region: Region, instance: Instance) -> None:
    """Boot the guest, and forward connections to its addresses."""
    instance.goal, instance.since = "Running", region.clock()
    region.boot.start(instance, disks.of_instance(region, instance))
    eip = eip_of(region, instance)
    for address in (instance.private, instance.public, eip.address if eip else ""):
        lead(region, instance, address)


def lead(region: Region, instance: Instance, address: str) -> None:
    region.network.open(address, instance.nic, partial(groups.lets_in, region, instance))


def start_instance(region: Region, parameters: Parameters) -> Answer:
    instance = region.instances.get(parameters.need("InstanceId"))
    if status(region, instance) != "Stopped":
        raise Refused("IncorrectInstanceStatus")
    if instance.stopped_mode == "StopCharging":
        region.stock.check_type(region.stock.type(instance.type), instance.zone)
        if instance.bandwidth and eip_of(region, instance) is None:
            instance.public = region.network.new_address()
    instance.started_before, instance.stopped_mode = True, ""
    power_on(region, instance)
    return {}


def stop_instance(region: Region, parameters: Parameters) -> Answer:
    instance = region.instances.get(parameters.need("InstanceId"))
    if status(region, instance) != "Running":
        raise Refused("IncorrectInstanceStatus")
    mode = parameters.text("StoppedMode", "KeepCharging")
    if mode not in ("KeepCharging", "StopCharging"):
        raise invalid("StoppedMode", "KeepCharging or StopCharging")
    instance.goal, instance.since, instance.stopped_mode = "Stopped", region.clock(), mode
    region.boot.stop(instance, region.timing.stop_limit, force=parameters.flag("ForceStop"))
    _close(region, instance)
    if mode == "StopCharging":
        instance.public = ""
    return {}


def _close(region: Region, instance: Instance) -> None:
    eip = eip_of(region, instance)
    for address in (instance.private, instance.public, eip.address if eip else ""):
        region.network.shut(address)


def delete_instance(region: Region, parameters: Parameters) -> Answer:
    instance = region.instances.get(parameters.need("InstanceId"))
    if instance.protected:
        raise Refused("InvalidOperation.DeletionProtection")
    now = status(region, instance)
    if now in ("Pending", "Starting"):
        raise Refused("IncorrectInstanceStatus.Initializing")
    if now != "Stopped" and not parameters.flag("Force"):
        raise Refused("IncorrectInstanceStatus")
    own = disks.of_instance(region, instance)
    if any(snapshots.in_progress(region, disk.id) for disk in own):
        raise Refused("IncorrectDiskStatus.CreatingSnapshot")
    _close(region, instance)
    region.boot.forget(instance)
    if (eip := eip_of(region, instance)) is not None:
        eip.instance = ""
    for disk in own:
        if disk.system or disk.delete_with_instance:
            disks.destroy(region, disk)
        else:
            disk.instance = disk.device = ""
    region.instances.drop(instance.id)
    return {}


def get_console_output(region: Region, parameters: Parameters) -> Answer:
    """The end of what a running instance has written to its serial console."""
    instance = _running(region, parameters)
    output = region.boot.console_bytes(instance.id, _CONSOLE)
    return {
        "InstanceId": instance.id,
        "ConsoleOutput": base64.b64encode(output).decode(),
        "LastUpdateTime": utc(region.clock()),
    }


def get_screenshot(region: Region, parameters: Parameters) -> Answer:
    """What is on the screen of a running instance: here always the same picture."""
    instance = _running(region, parameters)
    return {"InstanceId": instance.id, "Screenshot": base64.b64encode(_PICTURE).decode()}


def _running(region: Region, parameters: Parameters) -> Instance:
    instance = region.instances.get(parameters.need("InstanceId"))
    if status(region, instance) != "Running":
        raise Refused("IncorrectInstanceStatus")
    return instance


def modify_instance_attribute(region: Region, parameters: Parameters) -> Answer:
    instance = region.instances.get(parameters.need("InstanceId"))
    if parameters.text("UserData"):
        if status(region, instance) != "Stopped":
            raise Refused("IncorrectInstanceStatus")
        instance.user_data = user_data(parameters)
    instance.name = parameters.text("InstanceName", instance.name)
    instance.description = parameters.text("Description", instance.description)
    instance.protected = parameters.flag("DeletionProtection", instance.protected)
    return {}


def associate_eip(region: Region, parameters: Parameters) -> Answer:
    eip = region.eips.get(parameters.need("AllocationId"))
    instance = region.instances.get(parameters.need("InstanceId"))
    if eip.instance:
        raise Refused("IncorrectEipStatus")
    if instance.public or eip_of(region, instance) or status(region, instance) not in ("Running", "Stopped"):
        raise Refused(
            "IncorrectInstanceStatus", "The instance has a public address already, or changes its state."
        )
    eip.instance = instance.id
    if instance.goal == "Running":
        lead(region, instance, eip.address)
    return {}


def unassociate_eip(region: Region, parameters: Parameters) -> Answer:
    eip = region.eips.get(parameters.need("AllocationId"))
    if not eip.instance:
        raise Refused("IncorrectEipStatus")
    eip.instance = ""
    region.network.shut(eip.address)
    return {}


def convert_public_ip(region: Region, parameters: Parameters) -> Answer:
    """The static public address becomes an EIP, bound to the same instance."""
    instance = region.instances.get(parameters.need("InstanceId"))
    if not instance.public:
        raise Refused("IncorrectInstanceStatus", "The instance has no public address.")
    eip = Eip(id=region.eips.new_id(), created=region.clock(), address=instance.public, instance=instance.id)
    region.eips.add(eip)
    instance.public = ""
    instance.bandwidth = 0
    return {}


def describe_instances(region: Region, parameters: Parameters) -> Answer:
    wanted = parameters.listed("InstanceIds")
    state, name = parameters.text("Status"), parameters.text("InstanceName", "*")
    instances = [
        instance
        for instance in tagged(region.instances.seen(), parameters.tags())
        if (wanted is None or instance.id in wanted)
        and fnmatchcase(instance.name, name)
        and state in ("", status(region, instance))
        and parameters.text("ZoneId") in ("", instance.zone)
        and parameters.text("VpcId") in ("", instance.vpc)
        and parameters.text("VSwitchId") in ("", instance.vswitch)
    ]
    page = parameters.page()
    on_page, token = page.of(instances)
    rows = [_row(region, instance) for instance in on_page]
    return page.heading(len(instances), token) | {"Instances": {"Instance": rows}}


def _system(region: Region, instance: Instance) -> str:
    image = next((image for image in region.images if image.id == instance.image), None)
    return "windows" if image is not None and image.platform.startswith("Windows") else "linux"


def _row(region: Region, instance: Instance) -> Answer:
    eip = eip_of(region, instance)
    kind = region.stock.types.get(instance.type)
    return {
        "InstanceId": instance.id,
        "InstanceName": instance.name,
        "Description": instance.description,
        "Status": status(region, instance),
        "StoppedMode": instance.stopped_mode or "Not-applicable",
        "RegionId": region.name,
        "ZoneId": instance.zone,
        "InstanceType": instance.type,
        "InstanceTypeFamily": kind.family if kind else "",
        "Cpu": kind.cores if kind else 0,
        "Memory": int(kind.memory * 1024) if kind else 0,
        "ImageId": instance.image,
        "OSType": _system(region, instance),
        "OperationLocks": {"LockReason": []},
        "InstanceChargeType": "PostPaid",
        "InstanceNetworkType": "vpc",
        "InternetMaxBandwidthOut": instance.bandwidth,
        "DeletionProtection": instance.protected,
        "CreationTime": utc(instance.created),
        "SecurityGroupIds": {"SecurityGroupId": list(instance.groups)},
        "PublicIpAddress": {"IpAddress": [instance.public] if instance.public else []},
        "InnerIpAddress": {"IpAddress": []},
        "EipAddress": {"IpAddress": eip.address, "AllocationId": eip.id}
        if eip
        else {"IpAddress": "", "AllocationId": ""},
        "VpcAttributes": {
            "VpcId": instance.vpc,
            "VSwitchId": instance.vswitch,
            "PrivateIpAddress": {"IpAddress": [instance.private]},
            "NatIpAddress": "",
        },
        "Tags": {"Tag": [{"TagKey": key, "TagValue": value} for key, value in instance.tags.items()]},
    }
