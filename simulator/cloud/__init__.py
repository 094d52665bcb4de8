"""A simulated ECS region: `serve(Region(...), [AccessKey(...)])` in a program, or `python -m simulator.cloud`."""

from simulator.cloud.authenticator import AccessKey
from simulator.cloud.machines import Boot
from simulator.cloud.region import Quotas, Region, Timing
from simulator.cloud.server import Server, serve
from simulator.cloud.stock import Stock

__all__ = ["AccessKey", "Boot", "Quotas", "Region", "Server", "Stock", "Timing", "serve"]
