"""What is added to vLLM's worker process where the model runs on the CPU."""

from __future__ import annotations

from deployments.serving.memory import trim_regularly


class CpuWorker:
    """An extension of vLLM's worker: its methods can be called with `collective_rpc`."""

    def return_memory(self) -> None:
        """Return freed memory from now on, as replicas do.

        Every length of a step allocates tensors of another size in between blocks that stay, so
        that the heap grew by 0.5 MB a chat.
        """
        trim_regularly()
