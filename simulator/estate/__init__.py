"""The simulated datacenter: inventory, disks with contents, and the exact history of their changes."""
