"""The `rechunk` command: changes of the chunker."""
