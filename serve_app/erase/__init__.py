"""Erasing by command: the data of an API key, or of a document, for an operator."""
