"""Check of a configuration before anything starts: `python -m serve_app.check FILE`."""

from serve_app.check.file.document import Problem
from serve_app.check.report import Report, check

__all__ = ["Problem", "Report", "check"]
