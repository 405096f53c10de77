"""Chunking: titled text in, chunks within a number of tokens out."""
