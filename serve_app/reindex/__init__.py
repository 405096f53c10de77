"""The `reindex` command: changes of the embedding model."""
