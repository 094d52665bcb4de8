"""The appliance: owns everything on the VMware side, opens no inbound port, takes passes from the control plane."""
