"""The embedded vector store: Qdrant Edge."""
