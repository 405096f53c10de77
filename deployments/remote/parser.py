"""The Parser deployment by its handle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployments.remote.handle import Remote

if TYPE_CHECKING:
    from deployments import types


class RemoteParser(Remote):
    """Calls of the Parser deployment."""

    _methods = ("parse",)
    _abandonable = frozenset(_methods)

    async def parse(self, spec: types.ParseSpec) -> types.ParsedDocument:
        # Not repeated: a file that kills its replica must not get three of them.
        parsed: types.ParsedDocument = await self._call("parse", spec)
        return parsed
