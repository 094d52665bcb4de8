"""Schema versions, applied at start by `Database.migrate`."""
