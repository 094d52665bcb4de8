"""Target clouds: what makes intermediate instances and keeps images, behind one protocol."""
