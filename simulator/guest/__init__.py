"""What runs inside the imaginary machines: writers that change the disks while somebody copies them."""
