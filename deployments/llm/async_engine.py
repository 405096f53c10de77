"""vLLM's engine client: grammars validated off the event loop, and its progress watched."""

from __future__ import annotations

import asyncio
from typing import Any

from vllm.exceptions import VLLMError, VLLMValidationError
from vllm.sampling_params import RequestOutputKind, SamplingParams
from vllm.v1.engine.async_llm import AsyncLLM

from deployments.llm.output_hold import OutputHold
from deployments.llm.progress import Progress
from deployments.llm.request_errors import ADMISSION, CARELESS, Admission, from_exception

_OF_PROCESSING = (
    *("arrival_time", "lora_request", "tokenization_kwargs", "trace_headers", "priority"),
    *("data_parallel_rank", "session_id", "kv_hints"),
)


class AsyncEngine(AsyncLLM):  # type: ignore[misc]  # vLLM has no types here
    """`AsyncLLM` that processes requests with a grammar in a thread.

    vLLM validates a grammar while it makes its own request out of a caller's, on the event loop.
    xgrammar and llguidance release the GIL, so in a thread they hold up nobody.
    """

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - vLLM's
        super().__init__(*args, **options)
        self._progress = Progress(self.output_processor)

    def stalled_s(self) -> float:
        """Return `Progress.stalled_s`; to be called regularly.

        Without statistics the engine says nothing of the steps of a long prompt: then it is 0.
        """
        busy = self.log_stats and self.output_processor.has_unfinished_requests()
        return self._progress.stalled_s(busy=busy)

    async def add_request(
        self,
        request_id: str,
        prompt: Any,  # noqa: ANN401 - vLLM's
        params: Any,  # noqa: ANN401 - vLLM's
        **options: Any,  # noqa: ANN401 - vLLM's
    ) -> Any:  # noqa: ANN401 - vLLM's
        """Add a request, as AsyncLLM does; what it cannot read is a VLLMValidationError."""
        try:
            added = await self._add(request_id, prompt, params, **options)
        except VLLMError:
            raise
        except CARELESS as error:
            refusal = from_exception(error, Admission())
            raise VLLMValidationError(refusal.message, parameter=refusal.param) from None
        if (admission := ADMISSION.get()) is not None:
            admission.accepted = True
            if isinstance(params, SamplingParams) and params.output_kind is RequestOutputKind.DELTA:
                admission.holds.append(OutputHold(added))
        return added

    async def _add(self, request_id: str, prompt: Any, params: Any, **options: Any) -> Any:  # noqa: ANN401
        rendered = isinstance(prompt, dict) and "type" in prompt
        if rendered and isinstance(params, SamplingParams) and params.structured_outputs:
            text = prompt.get("prompt")
            prompt = await asyncio.to_thread(
                self.input_processor.process_inputs,
                request_id,
                prompt,
                params,
                supported_tasks=await self.get_supported_tasks(),
                **{name: options.pop(name) for name in _OF_PROCESSING if name in options},
            )
            options["prompt_text"] = text
        return await super().add_request(request_id, prompt, params, **options)
