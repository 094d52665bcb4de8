"""`python -m connector.appliance`: an appliance as a service; it prints one line of JSON when it is ready."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import click

from connector import child, environment, logs
from connector.appliance import excludes
from connector.appliance.agent import Agent
from connector.appliance.cleanup.ledger import ControlLedger
from connector.appliance.cleanup.leftovers import Cleaner
from connector.appliance.cleanup.register import ControlRegister
from connector.appliance.cleanup.repair import RepairContext, mend_all
from connector.appliance.configuration import ApplianceConfiguration, from_yaml, parse
from connector.appliance.identity import ApplianceIdentity
from connector.appliance.inventory import PEERS, KnownTarget, Rescan
from connector.appliance.membership import owner_of
from connector.appliance.metrics import ApplianceMetrics
from connector.appliance.passes.context import PassContext
from connector.appliance.passes.dispatch import carry
from connector.appliance.passes.evidence import EvidenceWriter
from connector.appliance.tally import ApplianceTally
from connector.clients.agents import ControlClient
from connector.epoch import EpochMemory
from connector.errors import ConnectorError, ControlFailed
from connector.metrics.serving import serve
from connector.outages import Outages
from connector.patience import Patience
from connector.service_manager import ServiceManager
from connector.sources.factory import Readers
from connector.vcenter.client import VCenter

log = logging.getLogger(__name__)

EVIDENCE_PATIENCE = 120.0  # seconds that a finished pass waits for an unreachable control plane
APPROVAL_POLL_INTERVAL = 5.0  # seconds between two heartbeats while the appliance waits for approval
#: Seconds that a snapshot's record waits for a control plane that restarts.
CONTROL_PATIENCE = 300.0
#: Seconds that the first sweep of the inventory may take before the service manager calls it a hang.
FIRST_SWEEP = 3600.0


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="YAML file; config/appliance.yaml is the commented reference. Default: one line of JSON on standard input.",
)
@click.option(
    "--log-format", type=click.Choice(logs.FORMATS), help="How to log. Default: as the configuration says."
)
@click.option("--exit-with-stdin", is_flag=True, help="Stop at the end of standard input.")
@click.option("--json", "as_json", is_flag=True, help="Print the ready line as JSON on a terminal too.")
def command(file: Path | None, log_format: str | None, exit_with_stdin: bool, as_json: bool) -> None:
    """Register the machines of a vCenter, and carry out passes until a signal stops the program."""
    stop, manager = threading.Event(), ServiceManager.found()

    def end(*_: object) -> None:
        stop.set()
        manager.stopping()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    configuration = from_yaml(file) if file else parse(child.read_configuration(), "standard input")
    configuration.log.apply("appliance", log_format)
    if exit_with_stdin:
        threading.Thread(target=_leash, args=(stop,), name="leash", daemon=True).start()
    run(configuration, stop, as_json=as_json, manager=manager)


def run(
    configuration: ApplianceConfiguration,
    stop: threading.Event,
    *,
    as_json: bool = False,
    manager: ServiceManager | None = None,
) -> None:
    """Run until `stop` is set. Every running pass is ended before this returns."""
    manager = manager or ServiceManager()
    with ExitStack() as unwind:
        unwind.callback(os.close, child.own_directory(configuration.state, "another appliance"))
        excludes.refuse(configuration.state)
        metrics = ApplianceMetrics(tally := ApplianceTally(), outages := Outages(log, PEERS))
        metrics_url = serve(unwind, "appliance", configuration.metrics_listen, manager, [metrics.collect])
        recorder = _LateRecorder()
        ledger = ControlLedger(recorder, Patience(CONTROL_PATIENCE, (ControlFailed,), stop))
        owner = owner_of(configuration.control.thumbprint)
        vcenter = VCenter(configuration.vcenter.settings(), owner=owner, ledger=ledger)
        metrics.vcenter = unwind.enter_context(vcenter)
        readers = configuration.readers()
        versions = readers.check(vcenter.about.version)
        memory = EpochMemory(configuration.state / "epoch")
        make = partial(ApplianceIdentity, configuration, vcenter.about.instance_uuid, memory)
        identity = identified(make, stop, manager, outages=outages)
        if identity is None:
            return

        def connect() -> ControlClient:
            control = configuration.control
            return ControlClient(control.url, control.thumbprint, lambda: identity.membership, memory)

        target = KnownTarget()
        admitted(connect, stop, target, manager, outages=outages)

        recorder.client = unwind.enter_context(closing(connect()))

        def deliver(pass_id: str, manifest: bytes) -> None:
            with closing(connect()) as control:
                Patience(EVIDENCE_PATIENCE, halt=stop).outlast(lambda: control.evidence(pass_id, manifest))

        evidence_writer = EvidenceWriter(identity.signer, versions, deliver)

        def renew() -> None:
            identity.renew(connect, partial(setattr, evidence_writer, "signer"))

        context = _pass_context(configuration, vcenter, ledger, readers, evidence_writer, target)
        every, watch = configuration.rescan, configuration.watch
        rescan = Rescan(vcenter, connect, every, stop, watch=watch, outages=outages, target=target)
        with manager.longer(FIRST_SWEEP):
            machines = rescan.once()
        unwind.enter_context(rescan)
        unwind.enter_context(_cleaner(context, connect, stop, outages))
        ready = {"appliance": identity.membership.appliance_id, "machines": machines, "pid": os.getpid()}
        ready |= {"metrics": metrics_url} if metrics_url else {}
        child.report_ready(ready, "" if as_json else _ready(configuration, ready))
        manager.ready(_status(configuration, machines))
        work = partial(carry, context)
        make_agent = partial(Agent, connect, work, configuration.passes, stop, rotate=renew, hear=target.hear)
        metrics.agent = make_agent(outages=outages, manager=manager, tally=tally)
        metrics.agent.run()


def _pass_context(
    configuration: ApplianceConfiguration,
    vcenter: VCenter,
    ledger: ControlLedger,
    readers: Readers,
    evidence_writer: EvidenceWriter,
    target: KnownTarget,
) -> PassContext:
    return PassContext(
        vcenter,
        ledger,
        readers,
        configuration.transfer,
        configuration.link(),
        evidence_writer,
        configuration.governor,
        configuration.backup_wait,
        target=target,
    )


def _cleaner(
    context: PassContext, connect: Callable[[], ControlClient], stop: threading.Event, outages: Outages
) -> Cleaner:
    careful = context.vcenter.during(
        stop
    )  # a merge may take hours, and must not keep this program from ending
    repair = RepairContext(careful, ControlRegister(connect), context.readers.unlocking, context.locks)
    first = partial(mend_all, repair)
    return Cleaner(careful, context.ledger, connect, context.locks, stop, first=first, outages=outages)


def _ready(configuration: ApplianceConfiguration, ready: Mapping[str, object]) -> str:
    """The ready line as a person reads it."""
    return f"""appliance ready
  id             {ready["appliance"]}
  vCenter        {configuration.vcenter.url}
  machines       {ready["machines"]}
  control plane  {configuration.control.url}{_metrics_line(ready)}

Stop with Ctrl-C or SIGTERM."""


def _metrics_line(ready: Mapping[str, object]) -> str:
    return f"\n  metrics        {ready['metrics']}" if "metrics" in ready else ""


def _status(configuration: ApplianceConfiguration, machines: int) -> str:
    """What `systemctl status` shows."""
    return f"serves {configuration.control.url} with {machines} machines of {configuration.vcenter.url}"


def identified(
    make: Callable[[], ApplianceIdentity],
    stop: threading.Event,
    manager: ServiceManager,
    pause: float = APPROVAL_POLL_INTERVAL,
    outages: Outages | None = None,
) -> ApplianceIdentity | None:
    """Make the identity. A service waits for a silent control plane, and says so; None if it was stopped meanwhile.

    Whoever runs the appliance in a terminal gets the error.
    """
    outages = outages or Outages(log, PEERS)
    while not stop.is_set():
        try:
            identity = make()
        except ControlFailed as failed:
            if not manager.listens:
                raise
            manager.ready(f"waits for the control plane: {failed}")
            outages.missed("not enrolled or known yet", failed)
            stop.wait(pause)
        else:
            outages.heard(ControlFailed)
            return identity
    return None


def admitted(
    connect: Callable[[], ControlClient],
    stop: threading.Event,
    target: KnownTarget,
    manager: ServiceManager,
    pause: float = APPROVAL_POLL_INTERVAL,
    outages: Outages | None = None,
) -> None:
    """Wait until an administrator has approved this appliance and `target` is known, or `stop` is set.

    The service manager hears why it waits: whoever starts the service is not kept waiting for the administrator.
    """
    logged, outages = False, outages or Outages(log, PEERS)
    with closing(connect()) as control:
        while not stop.is_set():
            try:
                answer = control.heartbeat(())
                target.hear(answer)
                if not answer.waiting:
                    outages.heard(ControlFailed)
                    return
                if not logged:
                    log.warning("waits for approval: an administrator runs connector appliance approve")
                logged = True
                manager.ready("waits for approval: an administrator runs connector appliance approve")
                outages.heard(ControlFailed)
            except ControlFailed as failed:
                manager.ready(f"waits for the control plane: {failed}")
                outages.missed("heartbeat", failed)
            stop.wait(pause)


class _LateRecorder:
    """A recorder whose client is set later: vCenter's login needs the ledger, and the client needs vCenter's identity."""

    client: ControlClient

    def record(
        self,
        pass_id: str,
        token: str,
        kind: str,
        moref: str | None,
        *,
        removed: bool = False,
        trouble: str = "",
    ) -> None:
        self.client.record(pass_id, token, kind, moref, removed=removed, trouble=trouble)

    def shutting_down(self, pass_id: str) -> None:
        self.client.shutting_down(pass_id)


def _leash(stop: threading.Event) -> None:
    child.wait_for_release()
    stop.set()


def main() -> int:
    """The process's exit code."""
    environment.hide()
    awaited = child.awaited()
    logs.to_stderr(logging.INFO)
    try:
        command(standalone_mode=False)
    except click.ClickException as refused:
        message = refused.format_message().rstrip(".")
        click.echo(f"connector appliance: {message}; see connector appliance run --help", err=True)
        return refused.exit_code
    except ConnectorError as failed:
        if awaited:
            child.report_failure(failed)
        click.echo(f"connector appliance: {failed}", err=True)
        return failed.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
