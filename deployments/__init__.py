"""The capabilities of GenServe: one package per Ray Serve deployment, and what they share."""
