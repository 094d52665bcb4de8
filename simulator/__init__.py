"""A simulated vCenter with real disks; it imports nothing of the product."""
