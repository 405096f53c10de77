"""Schemas, regular expressions and grammars of requests: bounds, and what they cost to compile."""
