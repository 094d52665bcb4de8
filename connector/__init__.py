"""Moves running virtual machines out of vCenter without installing anything in a guest, and proves it."""

__version__ = "0.1.0"
