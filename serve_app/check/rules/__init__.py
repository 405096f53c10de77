"""The rules that a configuration must satisfy."""
