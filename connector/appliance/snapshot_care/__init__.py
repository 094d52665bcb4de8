"""Limits what an open snapshot may cost the source: how hard the source is read, and when the snapshot is given back."""
