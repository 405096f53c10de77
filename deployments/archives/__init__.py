"""Archives of collections: their format, a writer and two readers that trust nothing they read.

`serve_app/ARCHIVE.md` describes the format.
"""
