"""The `check` command: print `FILE: good` and the placement, or every problem with its line."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from serve_app.check.file.document import Problem
from serve_app.check.placement.machine import LOCAL, this_machine
from serve_app.check.placement.nodes import SPEC_HELP, read_spec
from serve_app.check.report import Report, check

if TYPE_CHECKING:
    from collections.abc import Sequence

    from serve_app.check.placement.nodes import Node


def main(arguments: list[str]) -> int:
    """Check the named files; return 1 if any of them has a problem, else 0."""
    parser = argparse.ArgumentParser(prog="genserve check", description=__doc__)
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument(
        "--nodes",
        metavar="SPEC",
        default="",
        help=f"the cluster's nodes instead of those the file names: {SPEC_HELP}; or `{LOCAL}`",
    )
    parser.add_argument("--host", help="in place of the file's http_options.host")
    options = parser.parse_args(arguments)
    try:
        nodes = [this_machine()] if options.nodes == LOCAL else read_spec(options.nodes)
    except ValueError as error:
        parser.error(str(error))
    reports = {name: _checked(name, nodes, options.host) for name in options.files}
    for name, report in reports.items():
        lines = [str(problem) for problem in report.problems] or [f"{name}: good"]
        if report.problems or not report.is_local:
            lines += [line for plan in report.plans for line in plan.lines()]
        sys.stdout.write("\n".join(lines) + "\n")
    return int(any(report.problems for report in reports.values()))


def _checked(name: str, nodes: Sequence[Node], host: str | None) -> Report:
    try:
        text = Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a UTF-8 text"
        return Report([Problem(name, 1, "", f"cannot be read: {reason}")])
    return check(text, name, nodes, host)
