"""The catalogue: which collections, documents and files exist, in SQL."""
