"""The JSON of the HTTP surface: what is taken, with its bounds, and what is given back."""
