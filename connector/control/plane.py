"""`run` puts one control plane together: store, provider, runner, HTTPS."""

from __future__ import annotations

import errno
import logging
import os
import shlex
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import uvicorn
from starlette.applications import Starlette

from connector import child, private
from connector.clients.heartbeat import SILENCE
from connector.cloud.factory import ProviderMaker
from connector.control.agents.api import AgentApi, nobody
from connector.control.console import site
from connector.control.console.pages import ROOT
from connector.control.domain.clock import Clock
from connector.control.engine.background import Background
from connector.control.engine.drill_removal import DrillRemoval
from connector.control.engine.drills import DrillMonitor
from connector.control.engine.instance_contact import Ask, InstanceContact, Tell, ask_instance, tell_instance
from connector.control.engine.job_instances import JobInstances
from connector.control.engine.monitors import ApplianceMonitor
from connector.control.engine.runner import Runner
from connector.control.engine.scheduler import Scheduler
from connector.control.engine.stamp import DatabaseStamp
from connector.control.engine.steps import Steps
from connector.control.engine.target_instances import TargetInstanceMonitor
from connector.control.engine.workflow import DbosEngine
from connector.control.http import connections, exchange
from connector.control.http.connections import ConnectionLimits, Listener
from connector.control.metrics import DatabaseMetrics
from connector.control.notifications.sender import Notifier
from connector.control.notifications.settings import AnyRecipient, check_secrets
from connector.control.service.applications import CohortMonitor
from connector.control.service.jobs import JobService
from connector.control.smc import api as smc
from connector.control.state import identity, location
from connector.control.state.access_keys import AccessKeys
from connector.control.state.backup_schedule import BackupMetrics
from connector.control.state.epoch import FILE, RestoreDetector
from connector.control.state.identity import ControlIdentity
from connector.control.state.vault import Vault
from connector.control.store import Quotas, Store
from connector.control.store.provider_ledger import StoreLedger
from connector.epoch import EpochMemory
from connector.errors import BadInput, Conflict, PortInUse
from connector.managed_server import ManagedServer
from connector.metrics.serving import serve
from connector.service_manager import ServiceManager

_LOG: Final = logging.getLogger(__name__)

#: Connections accepted in one turn at most: of many that come at once, the first are dropped before the last use memory.
BACKLOG: Final = 256
#: Seconds after which the runner hangs if it has not turned. A turn may ask a cloud several times, each with its own deadline.
RUNNER_HANGS: Final = 1800.0


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one control plane. `grace`: seconds of silence after which an appliance loses its passes.

    Replicas on one PostgreSQL share `control.pem`, `access-key.toml`, `activation-code` and `vault-key`: copy these
    files into each state directory before the first start.
    """

    state: Path
    host: str = "127.0.0.1"
    port: int = 0
    database: str = ""  # default: a SQLite file in the state directory
    exit_with_stdin: bool = False
    grace: float = SILENCE
    interval: float = (
        2.0  # seconds between two looks of the runner at appliances, instances, applications and what is due
    )
    limits: Quotas = field(default_factory=Quotas)
    bounds: ConnectionLimits = field(default_factory=ConnectionLimits)
    tls: str = "1.3"  # the lowest version that a client may use; "1.2" for old clients
    meets_instances: bool = True  # exchange epoch marks with instances
    metrics: str = ""  # [HOST:]PORT; empty: they are not served
    as_json: bool = False  # the ready line is JSON on a terminal too
    recipients: tuple[AnyRecipient, ...] = ()  # of notifications
    notify_every: float = Notifier.EVERY  # seconds between two looks at what is worth a notification


def run(
    options: Options,
    make_provider: ProviderMaker,
    clock: Clock = time.time,
    ask: Ask = ask_instance,
    tell: Tell = tell_instance,
    manager: ServiceManager | None = None,
) -> None:
    """Serve until SIGTERM, SIGINT or, if that is asked for, the end of standard input.

    Every process on one database serves requests; the active runner among them moves the jobs.
    """
    manager = manager or ServiceManager()
    check_secrets(options.recipients)
    with ExitStack() as stack:
        child.own_directory(options.state, "another control plane")  # held until the process ends
        listener = stack.enter_context(_listen(options.host, options.port))
        own_identity = identity.load(options.state, options.host)
        store = Store(location.database_url(options.state, options.database), clock, options.limits)
        stack.callback(store.close)
        provider = make_provider(StoreLedger(store.resources))
        stack.callback(provider.close)
        vault = Vault(options.state / "vault-key")
        restore_detector = RestoreDetector(store, vault, EpochMemory(options.state / FILE))
        meet = InstanceContact(store, restore_detector).meet if options.meets_instances else None
        steps = Steps(store, provider, JobInstances(store, provider, vault, meet, ask, tell))
        background = Background()
        appliance_monitor = ApplianceMonitor(store, steps, background, grace=options.grace, ticks=store.ticks)
        drill_monitor = DrillMonitor(store, provider.drills, steps.images.drill_order)
        stack.callback(drill_monitor.close)
        target_monitor = TargetInstanceMonitor(store, steps.target_instances)
        stack.callback(target_monitor.close)
        runner = Runner(
            store,
            lambda: _engine(options, store, steps),
            [
                appliance_monitor.look,
                Scheduler(store, steps, background).look,
                CohortMonitor(store).look,
                drill_monitor.look,
                DrillRemoval(store, provider, store.ticks).look,
                target_monitor.look,
            ],
            fenced=_fenced,
            held=restore_detector.look,
            interval=options.interval,
            turned=manager.loop("the runner", RUNNER_HANGS),
        )
        stack.callback(runner.close)
        metrics_url = _metrics(options, own_identity, store, runner, manager, stack)
        notifier = Notifier(store, options.recipients, own_identity.ends, options.notify_every)
        stack.callback(notifier.close)
        runner.start()
        notifier.start()
        service = JobService(store, steps, runner.poke, grace=options.grace)
        keys = AccessKeys(store.keys, vault, own_identity.access_key)
        _serve(
            _application(service, keys, own_identity, options, restore_detector),
            listener,
            own_identity,
            options,
            manager,
            metrics_url,
        )


def _metrics(
    options: Options,
    own_identity: ControlIdentity,
    store: Store,
    runner: Runner,
    manager: ServiceManager,
    stack: ExitStack,
) -> str:
    """Serve metrics from now on, if that is asked for; answer where."""
    sources = (
        lambda samples: samples.set("connector_control_runner_active", runner.active),
        DatabaseMetrics(store.watched.state).collect,
        BackupMetrics(options.state).collect,
    )
    return serve(stack, "control", options.metrics, manager, sources, {"control": own_identity.ends})


def _application(
    service: JobService,
    keys: AccessKeys,
    own_identity: ControlIdentity,
    options: Options,
    restore_detector: RestoreDetector,
) -> Starlette:
    agents = AgentApi(service, own_identity.activation_code)
    dispatcher = smc.dispatcher(service)
    return exchange.application(
        [
            (nobody(), agents.open_endpoints()),
            (agents.known, agents.waiting_endpoints()),
            (agents.guard, agents.endpoints()),
        ],
        [
            *site.routes(
                service.store,
                dispatcher,
                keys,
                options.grace,
                billed=service.billed,
                drills=service.drills is not None,
                drills_convert=service.drills is not None and service.drills.converts,
            ),
            smc.endpoint(dispatcher, keys).route(),
        ],
        exchange=restore_detector,
    )


def _engine(options: Options, store: Store, steps: Steps) -> DbosEngine:
    """The engine. Raises `StateRestored` if its database and ours do not belong together."""
    url = _engine_url(options, store)
    stamp = DatabaseStamp(store, url)
    stamp.check()
    return DbosEngine(store, steps, url, stamp.write)


def _engine_url(options: Options, store: Store) -> str:
    """The engine's database: a file beside ours, or on PostgreSQL its own schema in the same database."""
    if store.url.startswith("sqlite"):
        file = options.state.resolve() / "engine.sqlite"
        private.file(file)
        return f"sqlite:///{file}"
    return store.url


def _listen(host: str, port: int) -> Listener:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With a named protocol, asyncio turns off Nagle's algorithm: else each answer waits 40 ms for an acknowledgement.
    listener = Listener(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        if isinstance(error, socket.gaierror):
            raise BadInput(
                f"this name has no address: {error.strerror}",
                on=f"--host {host}",
                remedy="give an address of this machine, or 0.0.0.0 for all its addresses",
            ) from error
        if error.errno == errno.EADDRNOTAVAIL:
            raise BadInput(
                "this machine has no such address",
                on=f"--host {host}",
                remedy="use 0.0.0.0 to listen on all its addresses",
            ) from error
        raise PortInUse(
            f"cannot listen: {error.strerror}", on=f"{host}:{port}", remedy="choose another --host or --port"
        ) from error
    listener.listen(BACKLOG)
    return listener


def _serve(
    app: Starlette,
    listener: Listener,
    own_identity: ControlIdentity,
    options: Options,
    manager: ServiceManager,
    metrics_url: str,
) -> None:
    server = ManagedServer(
        uvicorn.Config(
            app,
            http=connections.protocol(listener, options.bounds),
            ssl_certfile=str(own_identity.certificate_file),
            ssl_context_factory=lambda _config, default: _least(default(), options.tls),
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=1,
            timeout_keep_alive=75,
            backlog=BACKLOG,
        ),
        manager,
    )
    if options.exit_with_stdin:
        threading.Thread(target=_leash, args=[server], name="leash", daemon=True).start()
    host, port = listener.getsockname()[:2]
    url = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    ready = {
        "url": url,
        "console": f"{url}{ROOT}",
        "thumbprint": own_identity.thumbprint,
        "access_key_file": str(own_identity.access_key.file.resolve()),
        "activation_code_file": str(own_identity.activation_code_file.resolve()),
        "state": str(options.state.resolve()),
        **({"metrics": metrics_url} if metrics_url else {}),
    }
    child.report_ready(ready, "" if options.as_json else _ready(ready))
    connections.run(server, listener, options.bounds)


def _ready(ready: Mapping[str, str]) -> str:
    """The ready line as a person reads it, with what to do next."""
    return f"""control plane ready
  url              {ready["url"]}
  console          {ready["console"]}
  thumbprint       SHA-256
                   {ready["thumbprint"]}
  activation code  in {ready["activation_code_file"]}
  access key       in {ready["access_key_file"]}
                   (for commands; the console refuses it){_metrics_line(ready)}

  connector control key create --state {shlex.quote(ready["state"])} --name NAME    # a key for the console

Stop with Ctrl-C or SIGTERM."""


def _metrics_line(ready: Mapping[str, str]) -> str:
    return f"\n  metrics          {ready['metrics']}" if "metrics" in ready else ""


def _least(context: ssl.SSLContext, version: str) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2 if version == "1.2" else ssl.TLSVersion.TLSv1_3
    return context


def _fenced() -> None:
    """End at once: another process has taken over, so no further step may run here."""
    _LOG.critical("another control plane has become the active runner: this process ends")
    os._exit(Conflict.exit_code)


def _leash(server: uvicorn.Server) -> None:
    child.wait_for_release()
    server.should_exit = True
