"""Builds what is installed: the wheel and the Debian package. Two builds of one state are the same bytes."""
