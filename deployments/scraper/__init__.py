"""Read web pages named in a prompt, guarded against hostile addresses and content."""
