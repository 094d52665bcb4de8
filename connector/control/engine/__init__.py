"""What moves jobs: durable workflows, their steps, the scheduler, and monitors of the active runner."""
