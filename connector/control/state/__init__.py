"""The files of the state directory: certificate, keys, vault, backup, and how far the database was."""
