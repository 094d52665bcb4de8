"""What is installed: the wheel, the package, the units."""
