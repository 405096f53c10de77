"""Backup and restore by command: database, vectors and files of an installation."""
