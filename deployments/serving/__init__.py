"""What every deployment needs of Ray Serve: request context, error mapping, scale to zero."""
