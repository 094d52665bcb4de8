"""The appliance's image: a Debian with the package, which configures itself on its console or from OVF properties."""
