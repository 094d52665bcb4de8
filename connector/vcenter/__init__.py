"""The VMware side: the only room that imports pyVmomi. Start at `connector.vcenter.client.VCenter`.

The pure modules (`eligibility`, `naming`, the paging core of `changes`) load without pyVmomi.
"""
