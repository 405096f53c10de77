"""Readers: one module per file format, from bytes to text with title and page numbers."""
