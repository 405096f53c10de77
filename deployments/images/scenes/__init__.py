"""A small text-to-image model of our own: captioned scenes, training, judging, the weights."""
