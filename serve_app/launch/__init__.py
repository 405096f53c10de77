"""Start the service on this machine: read the configuration, prepare models and Ray, and stop."""
