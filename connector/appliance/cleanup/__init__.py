"""Cleans up what passes leave in vCenter: it is recorded before, removed afterwards, and repaired on request."""
