"""Nothing leaves the connector that is not in the catalogue: its source raises catalogued errors, or has a reason here."""

from __future__ import annotations

import ast
import builtins
from typing import Final

import pytest

from connector.errors import catalogue
from tests.errors.sweep import Raise, answers, classes, raises, raises_in

pytestmark = pytest.mark.xdist_group("raised")  # they read the whole source, once

#: What else may be raised, where, and who stops it before a user sees it. A place that ends in / is a room.
ALLOWED: Final = {
    ("UnreadableStructure", "offline/"): "a structure that is none: the look notes it and goes on",
    ("Missing", "offline/"): "a file that is not there: the look notes nothing and goes on",
    ("Missing", "conversion/guest_disks.py"): "a file that is not there: the plan goes on without it",
    (
        "Missing",
        "conversion/virtio_win.py",
    ): "a file that is not there: the search for drivers goes on without it",
    (
        "RuntimeError",
        "conversion/guest_program.py",
    ): "as libguestfs's own error: the caller in the same module takes it",
    (
        "ValueError",
        "conversion/guest_program.py",
    ): "a defect; the parent tells TargetFailed when the child ends",
    ("ValueError", "appliance/bandwidth.py"): "a validator: the configuration's reader tells BadInput",
    ("ValueError", "appliance/configuration.py"): "a validator: the configuration's reader tells BadInput",
    ("ValueError", "cloud/conversion_lines.py"): "a number that is none: TargetFailed in the same module",
    ("ValueError", "clients/heartbeat.py"): "its callers in the same module make ControlFailed of it",
    ("ValueError", "cloud/alibaba/settings.py"): "a validator: BadInput in the same module",
    (
        "RowRefused",
        "control/engine/rows.py",
    ): "the engine fails that workflow alone and logs it; a message is dropped",
    ("TypeError", "instance/user_data.py"): "its caller in the same module makes BadInput of it",
    ("ValueError", "batch/"): "validators and quantities: the parser makes a problem with its line of it",
    (
        "ValueError",
        "control/notifications/settings.py",
    ): "a validator: the configuration's reader tells BadInput",
    (
        "SMTPNotSupportedError",
        "control/notifications/mail.py",
    ): "as smtplib's own: `deliver` makes an outcome of it",
    ("OSError", "control/notifications/mail.py"): "the same",
    ("ValueError", "control/agents/messages.py"): "a validator: pydantic collects it, BadInput tells it",
    ("ValueError", "log_settings.py"): "a validator: the configuration's reader tells BadInput",
    ("ValueError", "settings.py"): "a validator: pydantic collects it; `Choice` makes BadInput of it",
    ("WentBack", "control/store/"): "the database holds the state and makes StateRestored of it",
    ("WrongValue", "specification/"): "whoever reads the value says it in the words of its own callers",
    ("ValueError", "control/state/backup.py"): "a manifest that is none: BadInput in the same function",
    ("ValueError", "instance/records.py"): "a record that is none: the journal ends there",
    ("ValueError", "transfer/extents.py"): "the service answers BadInput, the journal's reader stops",
    ("ValueError", "transfer/certificates.py"): "caught by the vault, told as a damaged authority",
    ("Wrong", "batch/document.py"): "becomes ManifestRefused in the same module",
    (
        "Denied",
        "control/smc/",
    ): "the API's refusal; its endpoint answers it, its codes have a catalogue of their own",
    ("Denied", "control/console/"): "the same refusal; the console's middleware shows it",
    ("Closed", "transfer/"): "a conveyor that was given up; its threads leave by it",
    ("AssertionError", ""): "cannot happen; would be a defect",
    ("KeyboardInterrupt", "cli/main.py"): "a signal as Ctrl-C, told as Interrupted by the same handler",
    (
        "Abort",
        "cli/source_down.py",
    ): "click's word for Ctrl-C and the end of input; the command's outermost handler ends with 130",
    ("Abort", "cli/abandon.py"): "the same: a person said no",
    ("Abort", "cli/support_bundle.py"): "the same: a person said no",
    ("Exit", "cli/"): "click's way to end with a code, after everything is told",
    ("TooLarge", "bounded.py"): "a socket's error: the clients' table of failures makes ours of it",
    ("Unending", "bounded.py"): "the same",
    ("OtherCertificate", "clients/trust.py"): "the same table makes TrustFailed of it",
    ("IncompleteRead", "clients/https.py"): "the same table, as of what http.client raises itself",
    ("ReadTimeout", "instance/user_data.py"): "its caller in the same module tells TargetFailed",
    ("OSError", "readable.py"): "as for a file that is not there: every caller makes BadInput of it",
    ("OSError", "transfer/target.py"): "libc's errno; the caller in the same module makes TargetFailed of it",
    ("OSError", "instance/device.py"): "libc's errno; the caller makes TargetFailed of it",
    ("ValueError", "transfer/evidence.py"): "a key that is none: the command tells BadInput",
    ("NoAccount", "transfer/account.py"): "the verifier tells EvidenceDamaged with the disk",
    ("ConnectionResetError", "vcenter/"): "inside of `translated`: Unreachable",
    ("HTTPException", "vcenter/"): "inside of `translated`: VCenterFault",
    ("IncompleteRead", "vcenter/"): "inside of `translated`: Unreachable",
    ("TimeoutError", "vcenter/"): "inside of `translated`: Unreachable",
    ("NotAuthenticated", "vcenter/"): "inside of `translated`: SessionExpired",
    ("ReadFailed", "sources/ranged_file.py"): "carries an error of ours; `https.ERRORS` takes it out",
    ("fault", "vcenter/stub.py"): "inside of `translated`",
}
#: A user can do something about these, and what depends on the case: the message says it.
MUST_ADVISE: Final = {
    "NotPermitted", "TrustFailed", "Ineligible", "VCenterFault", "ReaderFailed", "TargetFailed", "TargetFull",
    "PortInUse", "ProofFailed", "ControlFailed", "PeerRefused", "Unreachable", "AuthenticationFailed", "Ambiguous",
    "Conflict",
}  # fmt: skip

#: HookFailed, made of these errors in the same module, carries the remedy.
ADVISED_LATER: Final = ("batch/hooks.py",)


def _catalogued(name: str) -> bool:
    """A class of the catalogue, or one that a room derives from it."""
    return name in catalogue() or any(_catalogued(base) for base in classes().get(name, ()))


def _is_class(name: str) -> bool:
    return name in classes() or isinstance(getattr(builtins, name, None), type)


def unmapped(one: Raise) -> bool:
    """Neither catalogued, nor made by a function that says so, nor handed on, nor allowed."""
    if any(one.name == name and one.file.startswith(place) for name, place in ALLOWED):
        return False
    if _catalogued(one.name) or one.name == "kind":  # a variable that holds a class of the catalogue
        return False
    if not one.call and not _is_class(one.name) and one.name.islower():
        return False  # handed on: it was made, or caught, elsewhere
    if one.name in answers() and not _is_class(one.name):
        made = answers()[one.name]
        return not any(_catalogued(name) or name == "Denied" for name in made)
    return True


def test_no_exception_is_unmapped() -> None:
    found = list(raises())
    assert len(found) > 200
    assert [str(one) for one in found if unmapped(one)] == []


@pytest.mark.parametrize(
    ("source", "refused"),
    [
        ("raise RuntimeError('x')", True),
        ("raise ValueError", True),
        ("raise subprocess.CalledProcessError(1, 'x')", True),
        ("class Mine(Exception): pass\nraise Mine()", True),
        ("raise BadInput('x')", False),
        ("raise errors.Conflict('x')", False),
        ("raise failed", False),
        ("raise", False),
    ],
)
def test_the_sweep_sees_what_it_must_see(source: str, refused: bool) -> None:
    found = list(raises_in("somewhere.py", ast.parse(source)))
    assert any(unmapped(one) for one in found) is refused


def test_every_allowance_is_needed() -> None:
    found = list(raises())
    idle = [
        key for key in ALLOWED if not any(one.name == key[0] and one.file.startswith(key[1]) for one in found)
    ]
    assert idle == []


def test_who_can_do_something_is_told_what() -> None:
    named = [
        one for one in raises() if one.name in MUST_ADVISE and one.call and one.file not in ADVISED_LATER
    ]
    silent = [str(one) for one in named if not one.remedy]
    assert len(named) > 80
    assert silent == []
