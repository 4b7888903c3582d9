"""Postgres: tables, and queries as functions of a session that never commit."""
