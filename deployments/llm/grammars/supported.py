"""Which schemas vLLM can compile with the libraries whose cost is known."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from deployments.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from deployments.llm.grammars.bounds import Constraint


def check_supported(constraints: Iterable[Constraint]) -> None:
    """Raise InvalidRequest for a schema that neither xgrammar nor guidance supports.

    vLLM would fall back to outlines, whose cost nothing bounds.
    """
    from vllm.v1.structured_output.backend_guidance import has_guidance_unsupported_json_features
    from vllm.v1.structured_output.backend_xgrammar import has_xgrammar_unsupported_json_features

    for constraint in constraints:
        if constraint.kind != "json":
            continue
        schema = json.loads(constraint.spec)
        if has_xgrammar_unsupported_json_features(
            schema
        ) and has_guidance_unsupported_json_features(schema):
            msg = (
                f"{constraint.field}: the schema combines keywords that are not supported together"
            )
            raise InvalidRequest(msg, param=constraint.field)
