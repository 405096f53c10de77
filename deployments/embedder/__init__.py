"""Texts to unit-norm vectors, batched by tokens."""
