"""Pre-flight checks as data: one module per thing that is looked at. Pure: no socket, file, clock or thread."""
