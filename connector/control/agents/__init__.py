"""The agents' API: appliances enrol, take passes and report."""
