"""Commands of the form `genserve COMMAND FILE ACTION`, which work through the database."""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING

from deployments.errors import ServiceError
from serve_app.launch.configuration import read, settings
from serve_app.launch.process import prepare_process
from serve_app.launch.progress import StartError, say

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from serve_app.settings import AppSettings


def parser_of(
    command: str, description: str, actions: Mapping[str, str]
) -> argparse.ArgumentParser:
    """Return a parser for a command with these actions, each given with its meaning."""
    listed = "\n".join(f"  {name:<8}{meaning}" for name, meaning in actions.items())
    parser = argparse.ArgumentParser(
        prog=f"genserve {command}",
        description=description,
        epilog=f"actions:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("file", metavar="FILE", help="the configuration of the service")
    parser.add_argument("action", metavar="ACTION", choices=actions, help="see below")
    return parser


def run_action(file: str, work: Callable[[AppSettings], Awaitable[Sequence[str]]]) -> int:
    """Do some work with the settings in a file and print its lines; return the exit status."""
    prepare_process()

    async def run(found: AppSettings) -> Sequence[str]:
        return await work(found)

    try:
        lines = asyncio.run(run(settings(read(file), file)))
    except (StartError, ServiceError) as error:
        say(f"error: {error}")
        return 1
    for line in lines:
        say(line)
    return 0
