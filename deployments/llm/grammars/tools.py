"""The constraint that vLLM compiles for the tools of a request."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from deployments.llm.grammars.bounds import Constraint

if TYPE_CHECKING:
    from collections.abc import Callable


def tool_constraints(request: Any, parser: Callable[[Any], Any]) -> list[Constraint]:  # noqa: ANN401
    """Return what vLLM compiles for a request with tools; empty if it leaves them free.

    vLLM's own parser combines the tools by `tool_choice`, `strict`, `parallel_tool_calls` and the
    engine argument `tool_strict_level`, and adds the response format. It works on a copy here,
    since vLLM repeats it on the request. Validate the response format before: the parser may.
    """
    params = parser(request).adjust_request(request.model_copy()).structured_outputs
    if params is None:
        return []
    if params.structural_tag is not None:
        return [Constraint("tools", "structural_tag", params.structural_tag)]
    if params.json is not None:
        schema = params.json if isinstance(params.json, str) else json.dumps(params.json)
        return [Constraint("tools", "json", schema)]
    # A grammar of the parser's own, as Mistral's: its tools are judged one by one.
    return [
        Constraint("tools", "json", json.dumps(tool.function.parameters))
        for tool in request.tools
        if tool.function.parameters is not None
    ]
