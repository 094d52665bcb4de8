"""Contents for disks: partition tables, real file systems, random data, imported images."""
