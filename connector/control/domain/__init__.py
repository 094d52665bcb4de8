"""What a control plane decides, as values and tables: states, transitions, validity, applications. Pure."""
