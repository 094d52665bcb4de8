"""Readers open disks of snapshots as block sources; one factory chooses the reader, and only it knows their names."""
