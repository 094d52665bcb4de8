"""The VMware side: the only room that imports pyVmomi. Start at `connector.vcenter.client.VCenter`.

Pure modules (`eligibility`, the paging core of `changes`, `naming`) load without pyVmomi.
"""
