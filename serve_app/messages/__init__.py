"""Anthropic's Messages API over the answers of the bare model and of `genserve`."""
