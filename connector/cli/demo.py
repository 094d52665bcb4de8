"""`connector demo`."""
import click
@click.command()
def demo() -> None:
    """Two simulated machines, migrated while they write."""
