"""A shipped configuration with one small mistake in it, and what the check has to say of that."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from serve_app.check import checked
from serve_app.check.placement.nodes import read_spec

ROOT = Path(__file__).parents[2]


def shipped(name: str) -> str:
    """Read a configuration of the repository."""
    return (ROOT / name).read_text(encoding="utf-8")


def edited(text: str, old: str, new: str) -> str:
    """Replace the first `old`, which has to be there: these files do change."""
    assert old in text, old
    return text.replace(old, new, 1)


class Wrong(NamedTuple):
    """A mistake: `line` is on the line reported, `says` in the message.

    `nodes` are what the file is checked for, as on the command line.
    """

    file: str
    old: str
    new: str
    line: str
    says: str
    nodes: str = ""

    def assert_refused(self) -> None:
        """Check the file, and look for the one problem that names the line and what is right."""
        text = edited(shipped(self.file), self.old, self.new)
        lines = text.splitlines()

        found, _ = checked(text, self.file, read_spec(self.nodes))

        said = "\n".join(map(str, found))
        hits = [problem for problem in found if self.says in problem.message]
        assert hits, said or "nothing is refused"
        assert all(self.line in lines[problem.line - 1] for problem in hits), said
        assert all(str(hit).startswith(f"{self.file}:{hit.line}: ") for hit in hits)
