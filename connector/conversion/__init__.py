"""What makes a copy of a machine boot, and shows that it does. Never on the base, always on a copy (invariant 17)."""
