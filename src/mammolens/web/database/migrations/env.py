"""Alembic's entry: runs on the connection that `Database.upgrade` hands over."""

from alembic import context

from mammolens.web.database.tables import Case

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Case.metadata, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
