"""The engine, the session factory and the base of every table."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import DateTime, MetaData, Text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase

type_map: dict[Any, Any] = {str: Text(), datetime: DateTime(timezone=True)}

UTC = "-c timezone=UTC"

Sessions = async_sessionmaker[AsyncSession]


class Base(DeclarativeBase):
    """Text without a length limit and timestamps with a time zone, throughout."""

    type_annotation_map = type_map
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_N_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def driver_url(url: str) -> str:
    """A `postgresql://` or `postgres://` address as the psycopg dialect of SQLAlchemy wants it."""
    scheme, separator, rest = url.partition("://")
    if scheme in ("postgres", "postgresql"):
        return f"postgresql+psycopg{separator}{rest}"
    return url


def create_engine(url: str, *, pool_size: int = 10, application_name: str = "pingpulse") -> AsyncEngine:
    """An engine whose connections are checked before use, so that a restart of Postgres heals by itself."""
    return create_async_engine(
        driver_url(url),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,
        # Parameters are payloads and hashes: they belong in no log.
        hide_parameters=True,
        connect_args={"application_name": application_name, "connect_timeout": 5, "options": UTC},
    )


def create_sessions(engine: AsyncEngine) -> Sessions:
    return async_sessionmaker(engine, expire_on_commit=False)


@asynccontextmanager
async def transaction(sessions: Sessions) -> AsyncIterator[AsyncSession]:
    """One session, committed at the end of the block and rolled back on an error."""
    async with sessions() as session, session.begin():
        yield session


@asynccontextmanager
async def single_statements(sessions: Sessions) -> AsyncIterator[AsyncSession]:
    """A session that commits each statement by itself, without the round trips of a transaction around it."""
    async with sessions() as session:
        await session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
        yield session


@asynccontextmanager
async def snapshot(sessions: Sessions) -> AsyncIterator[AsyncSession]:
    """A session whose queries all see the same moment, for reading only."""
    async with sessions() as session:
        await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        yield session
