"""The `eval` command: measure retrieval and answers of a running service on a data set."""
