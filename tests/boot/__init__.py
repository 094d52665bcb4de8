"""Real guests that are built from Debian's packages and started in QEMU. By the marker `boot`: `make boot-tests`."""
