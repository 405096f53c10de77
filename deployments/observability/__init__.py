"""Logs, metrics and traces of every deployment."""
