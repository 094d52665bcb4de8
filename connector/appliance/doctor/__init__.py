"""What must be true around an appliance before a migration: probes, facts, rules."""
