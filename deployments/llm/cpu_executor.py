"""vLLM's executor in the scheduler's own process, for models on CPUs."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from vllm.utils.ompmultiprocessing import OMPProcessManager
from vllm.v1.executor.uniproc_executor import UniProcExecutor

if TYPE_CHECKING:
    from collections.abc import Iterator


class CpuExecutor(UniProcExecutor):  # type: ignore[misc]  # vLLM has no types here
    """Computes in the process that schedules.

    On CPUs vLLM starts a process for the model, only to set OpenMP's environment for it. Scheduler
    and model then wait for each other by spinning, on cores that everything else needs.
    """


@contextlib.contextmanager
def openmp_environment(config: Any) -> Iterator[None]:  # noqa: ANN401 - vLLM's
    """Set the threads of the process that is started in this context, if it is to compute."""
    if config.parallel_config.distributed_executor_backend is CpuExecutor:
        with OMPProcessManager(config).configure_omp_envs(rank=0, local_rank=0):
            yield
    else:
        yield
