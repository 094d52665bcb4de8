"""Every refusal has a code from `CODES`, which gives its HTTP status and message."""

from __future__ import annotations

from typing import Final

#: Code: HTTP status and message, in the words of the API's reference.
CODES: Final[dict[str, tuple[int, str]]] = {
    "DependencyViolation": (403, "There is still a resource that depends on the specified one."),
    "DependencyViolation.SecurityGroup": (400, "The specified VPC still has security groups."),
    "DependencyViolation.VSwitch": (400, "The specified VPC still has vSwitches."),
    "DiskCategory.OperationNotSupported": (403, "The type of the specified disk does not support this."),
    "Forbidden.RAM": (403, "User not authorized to operate on the specified resource."),
    "Forbidden.RiskControl": (403, "This operation is forbidden by the risk control system."),
    "IdempotenceParamNotMatch": (400, "There is an idempotence request with other parameters."),
    "IdempotentParameterMismatch": (400, "The request uses the same client token as a previous request."),
    "IdempotentProcessing": (403, "The previous idempotent request(s) is still processing."),
    "ImageIsCreating": (403, "The specified image is being created."),
    "ImageNotSupportInstanceType": (403, "The specified image does not support the specified instance type."),
    "ImageUsingByInstance": (403, "The specified image has been used to create instances."),
    "IncompleteSignature": (400, "The request signature does not conform to the standards."),
    "IncorrectDiskStatus": (403, "The current disk status does not support this operation."),
    "IncorrectDiskStatus.CreatingSnapshot": (403, "A previous snapshot creation is in process."),
    "IncorrectDiskStatus.NeverAttached": (403, "The specified disk has never been attached to any instance."),
    "IncorrectDiskStatus.NeverUsed": (403, "The specified disk has never been used after creating."),
    "IncorrectEipStatus": (400, "The current status of the EIP does not support this operation."),
    "IncorrectInstanceStatus": (403, "The current status of the resource does not support this operation."),
    "IncorrectInstanceStatus.Initializing": (403, "The specified instance is being initialized."),
    "IncorrectStatus.VSwitch": (400, "The status of the vSwitch is invalid."),
    "IncorrectVpcStatus": (400, "The current status of the VPC does not support this operation."),
    "InstanceDiskLimitExceeded": (403, "The amount of the disk on instance in question reach its limits."),
    "InsufficientBalance": (403, "Your account does not have enough balance."),
    "InternalError": (500, "The request processing has failed due to some unknown error."),
    "InvalidAccessKeyId.NotFound": (404, "Specified access key is not found."),
    "InvalidAccountStatus.NotEnoughBalance": (403, "Your account does not have enough balance."),
    "InvalidAccountStatus.SnapshotServiceUnavailable": (403, "Snapshot service has not been opened yet."),
    "InvalidAction.NotFound": (404, "Specified api is not found, please check your url and method."),
    "InvalidAllocationId.NotFound": (404, "The specified EIP does not exist."),
    "InvalidCidrBlock.Malformed": (400, "The specified CIDR block is not valid."),
    "InvalidCidrBlock.Overlapped": (400, "The specified CIDR block overlaps with another vSwitch."),
    "InvalidDataDiskSize.ValueNotSupported": (400, "The specified size of a data disk is out of range."),
    "InvalidDevice.InUse": (403, "The specified device has been occupied."),
    "InvalidDevice.Malformed": (400, "The specified device is wrongly formed."),
    "InvalidDiskCategory.NotSupported": (403, "The specified disk category is not supported."),
    "InvalidDiskCategory.ValueNotSupported": (400, "The specified disk category is not supported."),
    "InvalidDiskId.NotFound": (404, "The specified DiskId does not exist."),
    "InvalidDiskSize.NotSupported": (400, "The specified disk size is out of range."),
    "InvalidImageId.NotFound": (404, "The specified ImageId does not exist."),
    "InvalidImageName.Duplicated": (400, "The specified image name has already been used."),
    "InvalidImageName.Malformed": (400, "The specified image name is wrongly formed."),
    "InvalidInstanceId.NotFound": (404, "The specified InstanceId does not exist."),
    "InvalidInstanceType.NotSupported": (403, "The specified instance type is not supported."),
    "InvalidInstanceType.ValueNotSupported": (400, "The specified InstanceType does not exist."),
    "InvalidInstanceType.ValueUnauthorized": (400, "The specified InstanceType is not authorized."),
    "InvalidInstanceType.ZoneNotSupported": (403, "The zone does not support the specified instance type."),
    "InvalidOperation.Conflict": (403, "Request was denied due to conflict with a previous request."),
    "InvalidOperation.DeletionProtection": (403, "The instance is protected against deletion."),
    "InvalidParameter": (400, "The specified parameter is not valid."),
    "InvalidPermission.NotFound": (404, "The specified rule does not exist."),
    "InvalidRegionId.NotFound": (404, "The specified RegionId does not exist."),
    "InvalidResourceId.NotFound": (404, "The specified ResourceIds are not found in our records."),
    "InvalidSecurityGroupId.NotFound": (404, "The specified SecurityGroupId does not exist."),
    "InvalidSecurityGroupId.VPCMismatch": (400, "The security group and the vSwitch are not in one VPC."),
    "InvalidSecurityToken.Malformed": (400, "The specified SecurityToken is malformed or expired."),
    "InvalidSize.ValueNotSupported": (400, "The specified parameter Size is not valid."),
    "InvalidSnapshotId.NotFound": (404, "The specified SnapshotId does not exist."),
    "InvalidSnapshotId.NotReady": (403, "The specified snapshot has not completed yet."),
    "InvalidStatus.ValueNotSupported": (403, "The specified status of the resource is not supported."),
    "InvalidSystemDiskSize.ValueNotSupported": (400, "The size of the system disk is out of range."),
    "InvalidTimeStamp.Expired": (400, "Specified time stamp or date value is expired."),
    "InvalidTimeStamp.Format": (400, "Specified time stamp or date value is not well formatted."),
    "InvalidUser.PassRoleForbidden": (403, "The RAM user may not pass a RAM role."),
    "InvalidUserData.SizeExceeded": (400, "The specified UserData exceeds 32 KB."),
    "InvalidVSwitchId.NotFound": (404, "The specified VSwitchId does not exist."),
    "InvalidVersion": (400, "Specified parameter Version is not valid."),
    "InvalidVpcId.NotFound": (404, "The specified VpcId does not exist."),
    "InvalidZoneId.NotFound": (404, "The specified ZoneId does not exist."),
    "LastTokenProcessing": (403, "The last token request is processing."),
    "MissingParameter": (400, "An input parameter that is mandatory is not supplied."),
    "OperationConflict": (400, "The operation conflicts with another one."),
    "OperationDenied.NoStock": (403, "The requested resource is sold out in the specified zone."),
    "OperationFailed.LastTokenProcessing": (400, "The last token request is processing."),
    "QuotaExceed.AfterpayInstance": (400, "Living afterpay instances quota exceeded."),
    "QuotaExceed.ElasticQuota": (403, "No additional quota is available for the specified type."),
    "QuotaExceed.Image": (403, "The image quota is exceeded."),
    "QuotaExceed.PostPaidDisk": (403, "Living postpaid disks quota exceeded."),
    "QuotaExceed.Snapshot": (403, "The snapshot quota exceeds."),
    "QuotaExceeded.Vpc": (400, "VPC quota exceeded."),
    "RequestTimeout": (400, "The request timed out."),
    "ServiceTimeout": (400, "The service timed out."),
    "ServiceUnavailable": (503, "The request has failed due to a temporary failure of the server."),
    "SignatureDoesNotMatch": (400, "Specified signature is not matched with our calculation."),
    "SignatureNonceUsed": (400, "Specified signature nonce was used already."),
    "SnapshotCreatedImage": (403, "The snapshot has been used to create user defined image(s)."),
    "SystemBusy": (400, "The system is busy, try again later."),
    "TagLimitExceeded": (400, "A resource can have 20 tags at most."),
    "TaskConflict": (409, "There is already a task in process."),
    "Throttling": (400, "Request was denied due to request throttling."),
    "Throttling.Api": (400, "Request was denied due to api flow control."),
    "Throttling.User": (400, "Request was denied due to user flow control."),
    "UnknownError": (500, "The request processing has failed due to some unknown error."),
    "Zone.NotOnSale": (403, "The resource in the specified zone is no longer available for sale."),
    "Zone.NotOpen": (403, "The specified zone is not granted to you to buy resources yet."),
}


class Refused(Exception):
    """The answer is an error: a code, its HTTP status, and a message."""

    def __init__(self, code: str, message: str = "", status: int | None = None) -> None:
        known = CODES.get(code, (400, "The request was refused."))
        self.code = code
        self.status = known[0] if status is None else status
        self.message = message or known[1]
        super().__init__(f"{code}: {self.message}")


def missing(name: str) -> Refused:
    return Refused("MissingParameter", f'The input parameter "{name}" that is mandatory is not supplied.')


def invalid(name: str, rule: str) -> Refused:
    return Refused("InvalidParameter", f"The specified parameter {name} is not valid: {rule}.")
