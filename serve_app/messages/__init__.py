"""Anthropic's Messages API, for the bare model and for `genserve`."""
