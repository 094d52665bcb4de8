"""Processes that tests look at: each may end between being listed and being asked."""

from __future__ import annotations

from contextlib import suppress

import psutil


def command_line(process: psutil.Process) -> str:
    """Its words; empty when it has ended since it was listed."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def lives(process: psutil.Process) -> bool:
    """It runs, and is not just waiting to be reaped."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def kill(process: psutil.Process) -> None:
    """kill -9; nothing when it has ended since it was listed."""
    with suppress(psutil.NoSuchProcess):
        process.kill()


def present(pid: int) -> list[psutil.Process]:
    """The process of that number; empty when it has ended."""
    try:
        return [psutil.Process(pid)]
    except psutil.NoSuchProcess:
        return []


def addresses(process: psutil.Process) -> list[tuple[str, int]]:
    """Where it listens; empty when it has ended since it was listed."""
    try:
        return [c.laddr[:2] for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    except psutil.Error:
        return []


def children(pid: int | None = None) -> list[psutil.Process]:
    """Every process under `pid` (this test's own without one); empty when that has ended."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
