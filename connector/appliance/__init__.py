"""The appliance owns everything on the VMware side; it opens no inbound port and takes orders from the control plane."""
