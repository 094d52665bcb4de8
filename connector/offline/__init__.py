"""A look into disks at rest: structures that guests wrote, read with bounds and believed in nothing. No I/O of its own."""
