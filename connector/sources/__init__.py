"""Block sources behind one factory: how disks of a snapshot are read. Nobody outside knows a reader by name."""
