"""Moves running virtual machines out of vCenter, installs nothing in a guest, and proves every byte."""

__version__ = "0.1.0"
