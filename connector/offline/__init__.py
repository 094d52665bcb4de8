"""Reads what a guest wrote to its disks; every read is bounded and nothing is trusted. No I/O of its own."""
