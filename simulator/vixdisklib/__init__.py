"""A stand-in for VMware's VixDiskLib in C: the same ABI and hazards, served from an estate export."""

from simulator.vixdisklib.compiler import CompilerError, Sanitizer, build, has_compiler
from simulator.vixdisklib.installation import install
from simulator.vixdisklib.switches import Switch, switches

__all__ = ["CompilerError", "Sanitizer", "Switch", "build", "has_compiler", "install", "switches"]
