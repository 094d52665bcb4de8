"""`connector doctor` checks the appliance and what was left in vCenter. It changes nothing without --repair."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from connector import child
from connector.appliance import configuration as appliance
from connector.appliance.cleanup.register import ControlRegister, read, read_interrupted
from connector.appliance.cleanup.repair import (
    CHECKS,
    InterruptedCutover,
    LeftoverFinding,
    RegisteredResource,
    RepairContext,
    RepairLedger,
    ResourceRegister,
    examine,
    mended,
)
from connector.appliance.doctor import probes
from connector.appliance.doctor.facts import FactKind, LoginFact
from connector.appliance.doctor.rules import judge, passed
from connector.appliance.membership import Kept, kept_membership, owner_of
from connector.cli import deep_snapshots, estate
from connector.cli import doctor_view as view
from connector.cli.options import JSON, optional_vcenter_options
from connector.cli.read_test import read_tests
from connector.cli.site import NOBODY, Site
from connector.clients.agents import ControlClient
from connector.errors import BadInput, Conflict
from connector.settings import VCenterSettings
from connector.sources.factory import ReaderSettings, readers
from connector.sources.reader import Reader
from connector.vcenter.client import VCenter

if TYPE_CHECKING:  # the store imports a database library, which --config does not need
    from connector.control.store import Store

UNMENDED = Conflict.exit_code


@dataclass(frozen=True, slots=True)
class House:
    """The installation whose leftovers are looked for: its vCenter, its register, and the VDDK that releases locks."""

    vcenter: VCenterSettings
    kept: Kept
    register: Callable[[str], ResourceRegister]  # by the vCenter's name in the control plane
    vddk: Path | None
    transports: str = "nbdssl"


@click.command()
@optional_vcenter_options
@click.option(
    "--to",
    "target",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="The directory of `connector migrate`: check its free space and its leftovers.",
)
@click.option(
    "--config",
    "file",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    help="The configuration of an appliance that runs as a service: check the leftovers of its control plane.",
)
@click.option(
    "--vddk",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="CONNECTOR_VDDK",
    help="The unpacked VDDK. It releases locks of readers that died.",
)
@click.option(
    "--only",
    type=click.Choice(["appliance", "left", "looks"]),
    help="Only the appliance, only leftovers, or only leftovers of `vm check --deep`. Default: all.",
)
@click.option(
    "--instance",
    "instances",
    metavar="HOST[:PORT]",
    multiple=True,
    help="Also try the ports 8080 and 8703 of this instance. Repeatable.",
)
@click.option(
    "--machine",
    "machines",
    metavar="VM",
    multiple=True,
    help="Only this machine will be migrated, so other hosts do not matter. Repeatable. Default: every machine.",
)
@click.option(
    "--read",
    "read",
    metavar="VM",
    help="Read a little of this machine's first disk with each reader, through a snapshot of ours. Asks first.",
)
@click.option("--yes", is_flag=True, help="With --read: do not ask.")
@click.option("--quiet", "-q", is_flag=True, help="Show only failures and warnings.")
@click.option("--role", "as_role", is_flag=True, help="Show only missing privileges and how to grant them.")
@click.option(
    "--repair",
    is_flag=True,
    help="Carry out the repairs that are shown. Foreign snapshots are never touched.",
)
@click.option("--restore-cbt", is_flag=True, help="With --repair: turn CBT off where it was off before us.")
@JSON
def doctor(
    url: str,
    user: str,
    password_file: Path | None,
    thumbprint: str,
    authority: Path | None,
    target: Path | None,
    file: Path | None,
    vddk: Path | None,
    only: str | None,
    instances: tuple[str, ...],
    machines: tuple[str, ...],
    read: str | None,
    yes: bool,
    quiet: bool,
    as_role: bool,
    repair: bool,
    restore_cbt: bool,
    as_json: bool,
) -> None:
    """Check the appliance (names, ports, certificates, clock, privileges, VDDK, free space), and find what it left in
    vCenter: snapshots, disks to consolidate, locks, CBT.

    Exit code 0 if nothing blocks and nothing is left, or if everything was repaired; 11 otherwise.

    \b
    connector doctor --vcenter https://vc.example.com --thumbprint AA:BB:.. --vddk /opt/vddk
    connector doctor --vcenter https://vc.example.com --thumbprint AA:BB:.. --role
    connector doctor --to /srv/images --vcenter https://vc.example.com --thumbprint AA:BB:..
    connector doctor --config /etc/connector/appliance.yaml --repair
    connector doctor --config /etc/connector/appliance.yaml --read web-01
    connector doctor --vcenter https://vc.example.com --thumbprint AA:BB:.. --machine web-01 --quiet
    """
    _refuse_contradictions(url, target, file, only, as_role, repair, restore_cbt)
    for instance in instances:
        probes.instance_address(instance)  # before anything is asked of vCenter
    config = None if file is None else appliance.from_yaml(file)
    access = (
        estate.settings(url, user, password_file, thumbprint, authority)
        if config is None
        else config.vcenter.settings()
    )
    if as_role:
        with VCenter(access, owner=NOBODY, ledger=RepairLedger()) as vcenter:
            chosen = [vcenter.find(machine).moref for machine in machines]
            raise click.exceptions.Exit(view.role(vcenter.facts(chosen), access.user, as_json))
    bad = False
    if only not in ("left", "looks"):
        site = Site(access, config, target, vddk or (config.vddk if config else None), instances, machines)
        bad = _checked(site, quiet, as_json)
    if read is not None:
        configured = config.readers() if config else readers(ReaderSettings(vddk))
        bad |= view.reads(read_tests(access, read, configured, yes), as_json)
    enrolled = config is not None and _enrolled(config)
    if only not in ("appliance", "looks") and (target is not None or enrolled or (config and only == "left")):
        house = _service(config, str(file), vddk) if config is not None else None
        bad |= _left(house, target, access, vddk, only, repair, restore_cbt, as_json)
    if only != "appliance":
        unlocking = vddk or (config.vddk if config else None)
        bad |= _looks(access, unlocking, repair, as_json, always=only == "looks" and read is None)
    if bad:
        raise click.exceptions.Exit(UNMENDED)


def _refuse_contradictions(
    url: str,
    target: Path | None,
    file: Path | None,
    only: str | None,
    as_role: bool,
    repair: bool,
    restore_cbt: bool,
) -> None:
    """Raise BadInput for options that exclude each other or need another one."""
    if target is not None and file is not None:
        raise BadInput(
            "--to and --config exclude each other", remedy="give the one of the installation to check"
        )
    if only == "left" and target is None and file is None:
        raise BadInput(
            "no installation given",
            remedy="give exactly one of --to and --config",
        )
    if repair and (as_role or only == "appliance"):
        raise BadInput(
            "nothing is repaired with --role or --only appliance",
            on="--repair",
            remedy="leave one of them out",
        )
    if restore_cbt and not repair:
        raise BadInput("--restore-cbt changes machines", remedy="give it with --repair")
    if file is None and not url:
        raise BadInput("no vCenter given", on="--vcenter", remedy="give --vcenter URL, or --config FILE")


def _checked(site: Site, quiet: bool, as_json: bool) -> bool:
    """Check the appliance, and answer whether something blocks. Exit when vCenter refuses the login: nothing else can be seen."""
    with ExitStack() as unwind:
        facts = list(site.facts(unwind))
    bad = view.verdicts(list(judge(facts)), () if quiet else list(passed(facts)), as_json)
    if any(isinstance(fact, LoginFact) and fact.kind is FactKind.VCENTER and fact.trouble for fact in facts):
        raise click.exceptions.Exit(UNMENDED)
    return bad


def _left(
    house: House | None,
    target: Path | None,
    access: VCenterSettings,
    vddk: Path | None,
    only: str | None,
    repair: bool,
    restore_cbt: bool,
    as_json: bool,
) -> bool:
    """Look for leftovers, and repair them if that is asked for. Answer whether something is still wrong."""
    with ExitStack() as unwind:
        if house is None:
            if target is None:
                raise BadInput(
                    "no installation given",
                    remedy="give exactly one of --to and --config",
                )
            if only is None and kept_membership(target / ".connector" / "appliance") is None:
                return False  # nothing ever ran here, so nothing was left
            house = unwind.enter_context(_embedded(target, access, vddk))
        owner = owner_of(house.kept.control)
        vcenter = unwind.enter_context(VCenter(house.vcenter, owner=owner, ledger=RepairLedger()))
        register = house.register(vcenter.about.instance_uuid)
        repair_context = RepairContext(vcenter, register, _reader(house.vddk, house.transports))
        rows = [
            view.LeftoverRow(finding, *_treated(repair_context, finding, repair, restore_cbt))
            for finding in examine(repair_context, CHECKS)
        ]
    view.left(rows, as_json, repair)
    return any(row.bad for row in rows)


def _reader(vddk: Path | None, transports: str = "nbdssl") -> Reader | None:
    return readers(ReaderSettings(vddk, transports)).unlocking


def _looks(access: VCenterSettings, vddk: Path | None, repair: bool, as_json: bool, *, always: bool) -> bool:
    """Leftovers of our deep checks, which no control plane knows. `always`: say also that there are none."""
    with VCenter(
        access, owner=deep_snapshots.owner(new=False), ledger=deep_snapshots.FileLedger()
    ) as vcenter:
        repair_context = RepairContext(vcenter, deep_snapshots.EmptyRegister(), _reader(vddk))
        findings = deep_snapshots.findings(vcenter, vddk)
        rows = [
            view.LeftoverRow(finding, *_treated(repair_context, finding, repair, False))
            for finding in findings
        ]
    if rows or always:
        view.left(rows, as_json, repair)
    return any(row.bad for row in rows)


def _treated(
    repair_context: RepairContext, finding: LeftoverFinding, repair: bool, restore_cbt: bool
) -> tuple[str, bool]:
    """What was done with a leftover, and whether it is still wrong."""
    if finding.voluntary and not restore_cbt:
        return f"with --repair --restore-cbt: {finding.mending}", False
    if finding.mend is None:
        return finding.mending or "not ours to mend", True
    if not repair:
        return f"with --repair: {finding.mending}", True
    why = mended(repair_context, finding)
    return (f"stays: {why}", True) if why else ("mended", False)


def _enrolled(settings: appliance.ApplianceConfiguration) -> bool:
    """Whether this appliance ever came to its control plane. Before that nothing of it can be left."""
    membership = kept_membership(settings.state)
    return membership is not None and membership.control == settings.control.thumbprint


def _service(settings: appliance.ApplianceConfiguration, file: str, vddk: Path | None) -> House:
    control = settings.control
    membership = kept_membership(settings.state)
    if membership is None or membership.control != control.thumbprint:
        raise BadInput(
            "this appliance was never enrolled at its control plane",
            on=file,
            remedy="start it once, or check the state directory",
        )

    def connect() -> ControlClient:
        return ControlClient(control.url, control.thumbprint, membership.membership)

    register = ControlRegister(connect)
    return House(
        settings.vcenter.settings(),
        membership,
        lambda _: register,
        vddk or settings.vddk,
        settings.transports,
    )


@contextmanager
def _embedded(target: Path, access: VCenterSettings, vddk: Path | None) -> Iterator[House]:
    """The installation of `connector migrate`, whether it runs now or not."""
    state = target / ".connector"
    membership = kept_membership(state / "appliance")
    if membership is None:
        raise BadInput("`connector migrate` never ran here", on=str(target), remedy="check --to")
    with ExitStack() as unwind:
        register = unwind.enter_context(_store(state / "control", target))
        yield House(access, membership, register, vddk)


@contextmanager
def _store(control: Path, target: Path) -> Iterator[Callable[[str], ResourceRegister]]:
    """The register in the directory's store. No migration begins in the directory meanwhile; a running one goes on."""
    from connector.control.state import location
    from connector.control.store import Store

    if not (control / location.SQLITE).is_file():
        raise BadInput(
            "the database of `connector migrate` is missing",
            on=str(control / location.SQLITE),
            remedy="check --to, or run `connector migrate` again",
        )
    with ExitStack() as unwind:
        try:
            unwind.callback(os.close, child.own_directory(control, "connector doctor"))
            runs = False
        except Conflict:
            runs = True
        store = unwind.enter_context(closing(Store(location.database_url(control))))
        yield lambda vcenter: StoreRegister(store, vcenter, runs, target)


class StoreRegister:
    """The register of an embedded control plane. If it does not run, no pass works, so every resource was left."""

    def __init__(self, store: Store, vcenter: str, runs: bool, target: Path) -> None:
        """`target`: the directory of `connector migrate`."""
        self._store, self._vcenter, self._runs, self._target = store, vcenter, runs, target

    def remembered(self) -> Sequence[RegisteredResource]:
        from connector.control.http import views

        resources = self._store.resources.remembered(self._vcenter)
        return read({"things": [views.remembered(*resource) for resource in resources]})

    def running_machines(self) -> frozenset[str]:
        return frozenset(self._store.resources.running_machines(self._vcenter)) if self._runs else frozenset()

    def interrupted(self) -> Sequence[InterruptedCutover]:
        """If the control plane does not run, nothing carries a cutover on whose job is Running."""
        from connector.control.http import views

        cutovers = [views.open_cutover(*cutover) for cutover in self._store.jobs.open_cutovers(self._vcenter)]
        idle = [cutover | {"busy": cutover["busy"] and self._runs} for cutover in cutovers]
        return [self._with_commands(cutover) for cutover in read_interrupted({"down": idle})]

    def _with_commands(self, cutover: InterruptedCutover) -> InterruptedCutover:
        """With the commands of `connector migrate` in place of those of a control plane."""
        command = shlex.join(["connector", "migrate", cutover.name, "--to", str(self._target)])
        return replace(cutover, resume=f"{command} --cutover", take_back=f"{command} --rollback")

    def removed(self, token: str) -> None:
        self._store.resources.cleaned(token, self._vcenter)

    def resists(self, token: str, trouble: str) -> None:
        self._store.resources.cleaned(token, self._vcenter, trouble)
