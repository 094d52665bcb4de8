"""One machine's pass: its order, its snapshot, its disks, its evidence; cutover and rollback."""
