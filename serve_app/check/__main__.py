"""The command: one line per good file and exit 0, or every problem and exit 1."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from serve_app.check import Problem, checked
from serve_app.check.nodes import SPEC_HELP, read_spec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from serve_app.check.nodes import Node
    from serve_app.check.plan import Plan


def main(argv: list[str] | None = None) -> int:
    """Check the files named on the command line."""
    parser = argparse.ArgumentParser(prog="genserve check", description=__doc__)
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument("--nodes", metavar="SPEC", default="", help=f"the cluster, as {SPEC_HELP}")
    options = parser.parse_args(argv)
    try:
        nodes = read_spec(options.nodes)
    except ValueError as error:
        parser.error(str(error))
    failed = False
    for name in options.files:
        found, plans = _checked(name, nodes)
        failed = failed or bool(found)
        lines = [str(problem) for problem in found] or [f"{name}: good"]
        lines += [line for each in plans for line in each.lines()]
        sys.stdout.write("\n".join(lines) + "\n")
    return 1 if failed else 0


def _checked(name: str, nodes: Sequence[Node]) -> tuple[list[Problem], list[Plan]]:
    try:
        text = Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a UTF-8 text"
        return [Problem(name, 1, "", f"cannot be read: {reason}")], []
    return checked(text, name, nodes)


if __name__ == "__main__":
    sys.exit(main())
