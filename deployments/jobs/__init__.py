"""Durable jobs: ingestion of documents and making of pictures, on DBOS."""
