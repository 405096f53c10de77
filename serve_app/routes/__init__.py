"""The routes: one noun a file; parse, call, shape."""
