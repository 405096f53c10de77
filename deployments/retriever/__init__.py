"""Documents as vectors in Qdrant, embedded or on a server."""
