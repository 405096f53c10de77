"""The configuration file: its values, the lines they stand on, and its deployments."""
