"""The catalogue says for each error its usual causes, the conditions that become it, and what to do. Data only.

A message has the remedy of its own case; the catalogue is about the whole kind. A single fault of vCenter: vcenter/faults.py; a
code of VDDK: vddk/codes.py. docs/errors.md is made from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """`seen`: conditions of the operating system, TLS, HTTP and our own checks that become this error."""

    causes: str
    remedy: str
    seen: str = "our own checks"


ENTRIES: Final[dict[str, CatalogueEntry]] = {
    "ConnectorError": CatalogueEntry(
        "a defect of the connector",
        "report it with the message and the log",
        "any exception that is not foreseen, at the outermost handler of a process",
    ),
    "BadInput": CatalogueEntry(
        "a wrong option, file, field or manifest; two options that exclude each other",
        "change what the message names; `--help` and docs show the rule",
        "the parsers of options, files and requests; HTTP 400",
    ),
    "NotFound": CatalogueEntry(
        "a name is misspelt; the object was deleted or renamed meanwhile",
        "list what there is, and use a name from the list",
        "a look-up without a result; HTTP 404",
    ),
    "Ambiguous": CatalogueEntry(
        "two machines of one name in different folders",
        "use the path, the managed object reference or the id that the message lists",
        "a look-up with several results",
    ),
    "TrustFailed": CatalogueEntry(
        "a certificate was renewed; a proxy opens TLS; a wrong address; a wrong thumbprint",
        "compare the thumbprint with the certificate on the server itself, then set it",
        "TLS: certificate verification, another certificate than the pinned one, an alert of the peer",
    ),
    "EvidenceDamaged": CatalogueEntry(
        "a manifest was changed, cut or exchanged; another appliance signed it",
        "get the manifest again from the control plane; check whose key was given",
        "the signature, the digests of its sections, its form",
    ),
    "AuditLogDamaged": CatalogueEntry(
        "somebody changed the database or an export by hand; an older copy of the database was put back; a file was cut",
        "compare with an earlier export (`--against`): what is in it is as it was; find out who can write there",
        "the digests of the lines, and those of an earlier export",
    ),
    "AuthenticationFailed": CatalogueEntry(
        "a wrong or expired password; a revoked token or access key; clocks apart",
        "renew the secret; nothing is tried again by itself, because accounts lock",
        "HTTP 401, the login call, a refused signature",
    ),
    "NotPermitted": CatalogueEntry(
        "the role lacks a privilege on this object; the access key has a lower role",
        "grant the privilege that the message names (config/vcenter-role.yaml has the role), or use another key",
        "HTTP 403",
    ),
    "Ineligible": CatalogueEntry(
        "a finding of `vm check` blocks: a raw device, a shared bus, an independent disk, an encrypted machine",
        "run `connector vm check`, mend what it names, or migrate the machine powered off",
        "the eligibility checks",
    ),
    "VCenterFault": CatalogueEntry(
        "vCenter or the host could not do what was asked; no space on a datastore; a host in maintenance",
        "look at the machine's tasks and events in vCenter, mend the cause, start the job again",
        "an answer that is not the vSphere API's: HTTP errors of a proxy, broken XML",
    ),
    "SessionExpired": CatalogueEntry(
        "vCenter ended the session: idle time, restart, an administrator",
        "nothing: the connector logs in again; when it comes back often, look at vCenter's session limits",
        "a renewed session, a lost change notification",
    ),
    "ChangesUnknown": CatalogueEntry(
        "CBT was reset, switched off or lost: a revert, a migration of storage, a crash of the host",
        "nothing: the whole disk is read again and compared; look in vCenter who resets CBT when it comes back",
        "a change id that vCenter refuses, windows of changes that do not add up to the disk",
    ),
    "Unreachable": CatalogueEntry(
        "a firewall, a wrong address, vCenter restarting",
        "check name, port 443 and the way there; a running job waits and goes on",
        "OS: connection refused, reset or timed out, no route, name not resolved; TLS that does not begin",
    ),
    "ReaderFailed": CatalogueEntry(
        "VDDK is missing or unfit, and `vddk` is a reader; port 902 to the host is closed; the host failed a read",
        "follow the message, for a VDDK code docs/vddk.md; open ports 443 and 902 to the ESXi hosts",
        "OS: a local disk that cannot be read; the death of a VDDK worker",
    ),
    "TransferFailed": CatalogueEntry(
        "the network between appliance and instance broke; the instance was restarted",
        "nothing: it is tried again and goes on inside the disk; check port 8703 when it stays",
        "OS: connection refused, reset or timed out; TLS that ends without goodbye",
    ),
    "WireViolation": CatalogueEntry(
        "two releases that do not fit; something between them changes bytes; a stranger on the port",
        "run the same release on appliance and instance, and keep proxies off port 8703",
        "the frame decoder and the order of a conversation",
    ),
    "PeerRefused": CatalogueEntry(
        "an appliance that lost its pass still sends; the instance knows another pass",
        "start the job again: the pass is given out anew",
        "a REFUSE or ERROR frame without a known error",
    ),
    "TargetFailed": CatalogueEntry(
        "the disk at the target is broken or was removed; the intermediate instance was released by somebody",
        "mend the target's storage and start the job again",
        "OS: EIO, EROFS, EACCES at the target; the provider's API",
    ),
    "TargetFull": CatalogueEntry(
        "the target has less space than the disks and images need",
        "make room or give a larger target, then start the job again: it goes on where it stopped",
        "OS: ENOSPC, EDQUOT, EFBIG",
    ),
    "PortInUse": CatalogueEntry(
        "an earlier process still runs, or another program has the port",
        "stop the other program, or choose another port",
        "OS: EADDRINUSE",
    ),
    "ProofFailed": CatalogueEntry(
        "a disk, its controller or somebody at the target changed bytes after they were written",
        "check the target's storage; start the job again: what differs is read anew",
        "digests of source and target that differ",
    ),
    "ChangesMissed": CatalogueEntry(
        "CBT of this machine lost writes: a known bug of its version of ESXi, a crash of the host",
        "update ESXi; start the job again: the next pass compares the whole disk, and sends what differs",
        "the audit: bytes that differ where CBT says that nothing changed",
    ),
    "BootFailed": CatalogueEntry(
        "the wrong firmware or the wrong first disk; a guest that knows only VMware's controllers; a broken fstab",
        "look at the console log and the screenshot of the report; the image itself is untouched",
        "the boot check: what the guest's serial console shows, or that it shows nothing",
    ),
    "Conflict": CatalogueEntry(
        "a job is running or over; a backup holds the machine; two people do the same thing",
        "look at the status with `connector job show`, wait for what runs, then repeat",
        "HTTP 409; the state machine of jobs; a journal that is another disk's",
    ),
    "StateRestored": CatalogueEntry(
        "the control plane's database, its engine's database or its state directory was put back to an older copy; a failover of"
        " the database lost its last writes",
        "read what was restored with `connector control status`, then `connector control confirm --state DIR`; approve access"
        " keys, activation codes and appliances again",
        "an appliance, an instance or the state directory that knows of a later sequence or of another epoch",
    ),
    "ControlFailed": CatalogueEntry(
        "the control plane is down, restarting, or not at this address; its database is full or away",
        "see that it runs and answers, look into its log, repeat",
        "OS: no connection; HTTP 5xx; a child process that died",
    ),
    "Interrupted": CatalogueEntry(
        "Ctrl-C, SIGTERM, a stopped job or service",
        "run the same command again, or start the job: it resumes",
        "signals",
    ),
}
