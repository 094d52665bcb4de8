"""An imaginary vCenter with real disks; stands beside the product and imports nothing of it."""
