"""One answer: what it is grounded on, the prompt that fits, and citations that exist."""
