"""The doctor: compares catalogue, vectors and files, and mends what may be mended."""
