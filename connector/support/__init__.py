"""The support bundle: what a supporter needs to know about an installation, without its secrets."""
