"""The `genserve` command: parse the subcommand and run its `main`."""

from __future__ import annotations

import argparse
import difflib
import importlib
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from serve_app.launch.version import genserve_version

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_INTERRUPTED = 130  # as a shell reports a command that SIGINT ended


@dataclass(frozen=True)
class Subcommand:
    """A module with `main(arguments: list[str]) -> int`, imported only when it is run."""

    module: str
    summary: str

    def main(self) -> Callable[[list[str]], int]:
        """Import the module and return its `main`."""
        main: Callable[[list[str]], int] = importlib.import_module(self.module).main
        return main


SUBCOMMANDS = {
    "serve": Subcommand("serve_app.launch.start", "check FILE, prepare its models and start it"),
    "check": Subcommand("serve_app.check.__main__", "report what is wrong in FILE; start nothing"),
    "doctor": Subcommand("serve_app.doctor.command", "find damage in what is stored, and mend it"),
    "backup": Subcommand("serve_app.backup.command", "back up what a service has stored"),
    "restore": Subcommand("serve_app.backup.restore", "restore a backup into empty stores"),
    "erase": Subcommand("serve_app.erase.command", "erase a document, or the data of an API key"),
    "reindex": Subcommand("serve_app.reindex.command", "control a change of the embedding model"),
    "rechunk": Subcommand("serve_app.rechunk.command", "control a change of the chunker"),
    "export": Subcommand(
        "serve_app.archive.export_command", "write a collection of a running service to a file"
    ),
    "import": Subcommand(
        "serve_app.archive.import_command", "import an archive as a new vector store"
    ),
    "eval": Subcommand(
        "serve_app.evaluation.command", "measure retrieval and answers of a running service"
    ),
    "prepare": Subcommand("serve_app.launch.models", "convert the models that FILE names"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; return its exit status, 2 for wrong usage."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    if asked.command is None:
        parser.print_help(sys.stderr)
        return 2
    subcommand = SUBCOMMANDS.get(asked.command)
    if subcommand is None:
        near = difflib.get_close_matches(asked.command, SUBCOMMANDS, n=1)
        suggestion = f"did you mean `{near[0]}`?" if near else f"use {', '.join(SUBCOMMANDS)}"
        parser.error(f"there is no command `{asked.command}`: {suggestion}")
    try:
        return subcommand.main()(asked.arguments)
    except KeyboardInterrupt:
        return _INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    listed = "\n".join(f"  {name:<10}{each.summary}" for name, each in SUBCOMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="genserve",
        usage="genserve [--help] [--version] COMMAND ...",
        description="Run and inspect a GenServe service, described by one Ray Serve YAML file.",
        epilog=f"commands:\n{listed}\n\n`genserve COMMAND --help` lists the options of a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"genserve {genserve_version()}")
    parser.add_argument("command", metavar="COMMAND", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
