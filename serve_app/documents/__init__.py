"""Documents that people bring: uploads, kept files, and the vector stores they are put into."""
