"""The command line has one file for each noun. It puts everything together, and nothing imports it."""
