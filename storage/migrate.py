"""Bringing a database to the current schema."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from storage.base import driver_url


def _config(database_url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["database_url"] = driver_url(database_url)
    return config


def upgrade(database_url: str) -> None:
    """Applies what is missing; several processes may call it at once. Raises what the driver raises."""
    command.upgrade(_config(database_url), "head")


def current_revision(database_url: str) -> str | None:
    """The revision the database is at; None before the first. Raises what the driver raises."""
    engine = create_engine(driver_url(database_url))
    try:
        with engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()
    finally:
        engine.dispose()


def head_revision() -> str:
    """The revision this version wants."""
    return ScriptDirectory.from_config(_config("")).get_current_head() or ""
