"""The command: one line per good file and exit 0, or every problem and exit 1."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from serve_app.check import Problem, problems


def main(argv: list[str] | None = None) -> int:
    """Check the files named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m serve_app.check", description=__doc__)
    parser.add_argument("files", nargs="+", metavar="FILE")
    failed = False
    for name in parser.parse_args(argv).files:
        found = _problems_of(name)
        failed = failed or bool(found)
        lines = [str(problem) for problem in found] or [f"{name}: good"]
        sys.stdout.write("\n".join(lines) + "\n")
    return 1 if failed else 0


def _problems_of(name: str) -> list[Problem]:
    try:
        text = Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a UTF-8 text"
        return [Problem(name, 1, "", f"cannot be read: {reason}")]
    return problems(text, name)


if __name__ == "__main__":
    sys.exit(main())
