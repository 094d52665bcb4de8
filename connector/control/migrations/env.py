"""Run by Alembic; the connection comes from `Database.migrate`, inside its transaction."""

from alembic import context

from connector.control.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True
)
context.run_migrations()
