"""Migrations of the catalogue, by Alembic."""
