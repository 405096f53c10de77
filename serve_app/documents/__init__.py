"""Uploads, kept files, and the vector stores that files are attached to."""
