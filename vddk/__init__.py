"""Reads virtual disks with VMware's VDDK. It uses the standard library only, and imports no other room.

`vddk.spec` has the values and the interface, `vddk.worker` opens disks, `vddk.errors` lists the failures.
"""
