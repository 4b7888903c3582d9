"""Migrations lead to the tables of the models, and back."""

import psycopg
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from cli.postgres import EmbeddedPostgres
from storage.base import Base, driver_url
from storage.migrate import _config, current_revision, head_revision, upgrade
from storage.schema import TABLES
from tests.conftest import copy_database


def tables(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    return {row[0] for row in rows}


async def test_migrations_make_what_the_models_say(postgres: EmbeddedPostgres) -> None:
    url = await copy_database(postgres, "migrations_current")
    engine = create_engine(driver_url(url))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True, "compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()
    assert {table.__tablename__ for table in TABLES} == set(Base.metadata.tables)
    assert tables(url) == {"alembic_version", *Base.metadata.tables}


async def test_down_and_up_again(postgres: EmbeddedPostgres) -> None:
    url = await copy_database(postgres, "migrations_down")
    command.downgrade(_config(url), "base")
    assert tables(url) == {"alembic_version"}
    assert current_revision(url) is None
    for _ in range(2):
        upgrade(url)
    assert current_revision(url) == head_revision()
    assert tables(url) == {"alembic_version", *Base.metadata.tables}
