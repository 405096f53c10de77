"""Renderer: read web pages with a browser that reaches the public internet only."""
