"""Limits on what an open snapshot may cost the source: how hard it is read, when it is given back."""
