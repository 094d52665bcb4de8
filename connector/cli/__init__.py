"""The command line: one file per noun. A composition root: it may import everything below, nobody imports it."""
