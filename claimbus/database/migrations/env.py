"""Alembic's entry. `claimbus.database.migration` hands over a connection that is in a transaction."""

from alembic import context

from claimbus.database.schema import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True
)
with context.begin_transaction():
    context.run_migrations()
