"""Clean text from outside: convert HTML to Markdown, remove invisible characters."""
