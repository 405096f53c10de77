"""The Parser deployment by its handle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployments.remote.handle import Remote

if TYPE_CHECKING:
    from deployments import types


class RemoteParser(Remote):
    """Calls of the Parser deployment."""

    _methods = ("parse", "unpack")
    _abandonable = frozenset(_methods)

    async def parse(self, spec: types.ParseSpec) -> types.ParsedDocument:
        # Not repeated: a file that kills its replica must not get three of them.
        parsed: types.ParsedDocument = await self._call("parse", spec)
        return parsed

    async def unpack(self, spec: types.UnpackSpec) -> types.UnpackedFiles:
        unpacked: types.UnpackedFiles = await self._call("unpack", spec)
        return unpacked
