"""Optical character recognition: the process that does it, and the client of that process."""
