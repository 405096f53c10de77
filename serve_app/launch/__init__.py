"""Start the service on this machine: models, start, progress, stop."""
