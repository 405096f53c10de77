"""Check that the Python environment was built for its hardware.

`make install` ends with `python -m serve_app.launch.installation cpu` (or `gpu`).
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from typing import Literal

Kind = Literal["cpu", "gpu"]
_ENGINE = ("vllm", "vllm.engine.arg_utils", "vllm.v1.engine.async_llm")
_SOURCES = "`pip config list`, UV_FIND_LINKS, UV_INDEX, UV_DEFAULT_INDEX"


def main(arguments: list[str]) -> int:
    """Check the environment of this interpreter; return 1 if it cannot run the service."""
    parser = argparse.ArgumentParser(prog="python -m serve_app.launch.installation")
    parser.add_argument("kind", choices=("cpu", "gpu"), help="the requirement set it was made from")
    kind = parser.parse_args(arguments).kind
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    message = fault(kind)
    if message:
        sys.stderr.write(f"error: {message}\n")
        return 1
    return 0


def fault(kind: Kind) -> str | None:
    """Return what is wrong with the environment and how to mend it; None if it is sound.

    The GPU environment needs a PyTorch built for CUDA, the CPU environment one built without,
    and in both vLLM must import: the modules of its engine, too, but on a machine without a GPU
    only the top of the GPU build, which images are made on.
    """
    again = f"then run `make clean install EXTRA={kind}`"
    try:
        torch = importlib.import_module("torch")
    except Exception as error:  # noqa: BLE001 - a broken library may raise anything
        return f"PyTorch cannot be imported ({error}): look above for what failed, {again}"
    cuda, version = torch.version.cuda, torch.__version__
    if kind == "gpu" and not cuda:
        return (
            f"PyTorch {version} is a build for CPUs, and the GPU environment needs one for CUDA. "
            f"A folder of wheels or an index of yours offers it ({_SOURCES}): take it out, {again}"
        )
    if kind == "cpu" and cuda:
        return (
            f"PyTorch {version} is a build for CUDA {cuda}, and the CPU environment needs one for "
            f"CPUs. Look where it came from ({_SOURCES}), {again}"
        )
    for module in _ENGINE if kind == "cpu" or torch.cuda.is_available() else _ENGINE[:1]:
        try:
            importlib.import_module(module)
        except Exception as error:  # noqa: BLE001 - as above
            return f"{module} cannot be imported ({type(error).__name__}: {error}): {again}"
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
