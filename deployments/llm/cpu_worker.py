"""An extension of vLLM's worker, for models on CPUs."""

from __future__ import annotations

from deployments.serving.memory import trim_regularly


class CpuWorker:
    """Methods that vLLM adds to its worker; the engine calls them with `collective_rpc`."""

    def return_memory(self) -> None:
        """Return freed memory to the system from now on, as replicas do.

        Tensors of each batch length have another size, and are freed between blocks that stay: the
        heap grew by some 2 MiB a chat.
        """
        trim_regularly()
