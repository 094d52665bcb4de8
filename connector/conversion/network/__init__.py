"""What must change in a Linux guest so that its network cards keep their names and get addresses on another hypervisor."""
