"""Refuse a wrong configuration file before anything starts: `python -m serve_app.check FILE`."""

from __future__ import annotations

from serve_app.check.config_file import Problem, read
from serve_app.check.rules import rule_problems
from serve_app.check.serve import serve_problems

__all__ = ["Problem", "problems"]


def problems(text: str, name: str) -> list[Problem]:
    """List everything wrong with a configuration, in the order of its lines."""
    try:
        file, found = read(text, name)
        if file is not None:
            found += [*serve_problems(file), *rule_problems(file)]
    except RecursionError:  # an alias inside of what it stands for
        return [Problem(name, 1, "", "nested without end")]
    return sorted(set(found))
