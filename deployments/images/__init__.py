"""Prompts to pictures, several of one shape in a pass."""
