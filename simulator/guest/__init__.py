"""Guests of the simulated machines: writers that change the disks while they are copied."""
