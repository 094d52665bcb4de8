"""All HTTPS between our own processes goes through this room: to the control plane's APIs and to an instance's control port."""
