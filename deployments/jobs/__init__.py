"""Durable jobs, document ingestion and image generation, on DBOS."""
