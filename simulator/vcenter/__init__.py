"""A simulated vCenter Server 8.0: HTTPS and SOAP over the estate, close enough for clients that do not know it."""

from simulator.vcenter.center import Center
from simulator.vcenter.options import Options
from simulator.vcenter.server import DEFAULT_USER, Server, serve

__all__ = ["DEFAULT_USER", "Center", "Options", "Server", "serve"]
