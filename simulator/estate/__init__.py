"""The imaginary datacenter: inventory, disks with contents, and the exact history of what changed on them."""
