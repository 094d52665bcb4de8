"""Moves the bytes of a source disk to a target disk. Knows no vCenter, no cloud and no control plane."""
