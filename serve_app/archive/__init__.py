"""Archives by command: export a collection of a running service, and import one."""
