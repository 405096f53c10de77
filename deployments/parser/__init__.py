"""Uploaded files to titled, page-numbered chunks, in a killable child process."""
