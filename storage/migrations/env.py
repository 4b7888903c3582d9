"""Run by alembic. Holds a lock, so that several processes may migrate at once and one does it."""

from alembic import context
from sqlalchemy import create_engine, text

from storage.base import Base
from storage.schema import TABLES

MIGRATION_LOCK = 7_464_464

assert TABLES
engine = create_engine(context.config.attributes["database_url"])
with engine.connect() as connection:
    connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": MIGRATION_LOCK})
    connection.commit()
    try:
        context.configure(connection=connection, target_metadata=Base.metadata, compare_server_default=True)
        with context.begin_transaction():
            context.run_migrations()
    finally:
        connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": MIGRATION_LOCK})
        connection.commit()
engine.dispose()
