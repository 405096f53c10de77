"""The command line that all benches share."""

from __future__ import annotations

import argparse
import http.client
import signal
import subprocess
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

import aiohttp

from tests.bench.report import Section, say
from tests.support.processes import StartError

Measure = Callable[[argparse.Namespace], Iterable[Section]]
_INTERRUPTED = 130
_ERRORS: tuple[type[Exception], ...] = (
    *(StartError, OSError, aiohttp.ClientError, http.client.HTTPException),
    subprocess.SubprocessError,
)


def parser(module: str, description: str | None) -> argparse.ArgumentParser:
    """Return a parser for `python -m module` with the options of every bench."""
    made = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    made.add_argument(
        "--quick", action="store_true", help="a small run, to see that the bench itself works"
    )
    made.add_argument("--out", type=Path, help="also write the raw figures into this folder")
    return made


def run(
    options: argparse.ArgumentParser,
    measure: Measure,
    *,
    comparable: bool = True,
    incidental: Collection[str] = (),
    errors: tuple[type[Exception], ...] = (),
) -> int:
    """Print every section that `measure` yields; return the exit status, 0 if all checks hold.

    The sections are written to RESULTS.md only by a `comparable` run: if all options have their
    default values, except for the `incidental` ones, which do not change what is measured. The
    `errors` are printed without a traceback, as are those of processes and connections.
    """
    given = options.parse_args()
    changed = {name for name, value in vars(given).items() if value != options.get_default(name)}
    comparable = comparable and changed <= {"out", *incidental}
    # Also for a background job, whose shell has these signals ignored: what is started here
    # would inherit that and could not be stopped.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    holds = True
    try:
        for section in measure(given):
            say(f"\n{section.markdown}")
            if comparable:
                section.write()
            if given.out:
                section.write_files(given.out)
            holds = holds and section.holds
    except KeyboardInterrupt:
        say("stopped")
        return _INTERRUPTED
    except _ERRORS + errors as error:
        say(f"error: {error}")
        return 1
    return 0 if holds else 1
