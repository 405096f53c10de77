"""Readers: one file format per module, bytes in, titled and page-numbered text out."""
