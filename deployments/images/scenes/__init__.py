"""Our small text-to-image model: captioned scenes, training, recognition, the weights."""
