"""vLLM's arguments: its defaults, ours for CPUs, and over them the operator's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.platforms import current_platform
from vllm.utils.argparse_utils import FlexibleArgumentParser

from deployments.errors import InvalidRequest
from deployments.llm.cpu_executor import CpuExecutor
from deployments.llm.cpu_worker import CpuWorker

if TYPE_CHECKING:
    from collections.abc import Mapping

CPU_WORKER = f"{CpuWorker.__module__}.{CpuWorker.__qualname__}"
_PARALLEL = ("tensor_parallel", "pipeline_parallel", "data_parallel", "prefill_context_parallel")


def parsed_arguments(model: str, served_name: str, engine_args: Mapping[str, Any]) -> Any:  # noqa: ANN401 - argparse's
    """Return all arguments of vLLM's server; InvalidRequest if it has no argument of a name."""
    args = make_arg_parser(FlexibleArgumentParser()).parse_args([])
    args.model, args.served_model_name = model, [served_name]
    unknown = [name for name in engine_args if not hasattr(args, name)]
    if unknown:
        msg = f"vLLM has no engine argument {', '.join(sorted(unknown))}"
        raise InvalidRequest(msg)
    if current_platform.is_cpu():
        args.worker_extension_cls = CPU_WORKER
    vars(args).update(engine_args)
    in_one_process = all(getattr(args, f"{kind}_size") == 1 for kind in _PARALLEL)
    if current_platform.is_cpu() and in_one_process and args.distributed_executor_backend is None:
        args.distributed_executor_backend = CpuExecutor
    return args
