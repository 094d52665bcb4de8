"""What moves jobs: durable workflows, their steps, the scheduler and the monitors of the active runner."""
