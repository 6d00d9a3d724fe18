"""Run by Alembic; the connection, within a transaction, comes from `service.jobs.schema`."""

from alembic import context

from service.jobs.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
