"""Chunking: split a text into chunks of a limited number of tokens."""
