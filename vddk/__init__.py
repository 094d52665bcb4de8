"""Reading virtual disks with VMware's VDDK. Standard library only; knows nothing of the rest of the house.

`vddk.spec` has the words and the interface, `vddk.worker` opens disks, `vddk.errors` says what can fail.
"""
