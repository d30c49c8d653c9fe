"""Alembic's folder: how a database comes to the schema of `claimbus.database.schema`, step by step."""
