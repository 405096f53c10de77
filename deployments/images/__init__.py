"""Text-to-image generation, in batches of pictures of one size."""
