"""Authentication, rate limits, and the isolation of owners from each other."""
