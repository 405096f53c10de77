"""Parse uploaded files into titled, page-numbered chunks, in child processes."""
