"""Text from outside: HTML to Markdown, and invisible characters removed."""
