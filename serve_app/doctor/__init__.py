"""The `doctor` command: find damage in what is stored, and mend it."""
