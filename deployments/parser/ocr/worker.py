"""The OCR process: it loads the models once and reads one page for each request.

Requests and replies are JSON messages on a socket of the type SOCK_SEQPACKET:

    {"page": 3, "media_type": "application/pdf", "start": 0, "size": null}, with the descriptor of
        a file that holds it from byte `start` on, to its end or for `size` bytes
    {"text": "...", "confidence": 0.98, "lines": 40, "script": "", "cpu_s": 4.2}
    {"error": "damaged_pdf", "cpu_s": 0.1}

The process ends when the socket is closed, or when a page exceeds a limit.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

from deployments.child_processes import limit
from deployments.errors import InvalidRequest
from deployments.parser.ocr.engine import Engine, Recognised
from deployments.parser.ocr.pictures import picture
from deployments.priority import lower_priority

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_MESSAGE_BYTES = 128 * 1024
MAX_TEXT_BYTES = 96 * 1024
"""Of one page, in UTF-8."""
PAGE_CPU_S = 120
MEMORY_BYTES = 4 * 1024**3
"""Of address space; without a limit on a GPU, whose driver reserves far more."""
_MAX_OPEN_FILES = 64
_TRUSTED_CONFIDENCE = 0.8
_MIN_CONFIDENCE = 0.7
"""The text of a page with less is left out."""
_PR_SET_PDEATHSIG = 1
_BLOCK_BYTES = 1 << 24


def main() -> int:
    """Serve the socket given as the first argument."""
    lower_priority()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    channel = socket.socket(fileno=int(sys.argv[1]))
    cuda = _has_cuda()
    engine = Engine(cuda=cuda)
    _import_decoders()
    _confine(None if cuda else MEMORY_BYTES)
    while True:
        message, descriptors, _, _ = socket.recv_fds(channel, MAX_MESSAGE_BYTES, 1)
        if not message:
            return 0
        try:
            channel.send(_reply(engine, json.loads(message), descriptors[0]))
        except ConnectionError:
            return 0
        finally:
            os.close(descriptors[0])


def _import_decoders() -> None:
    """Import what the first file would import, which may store its bytecode."""
    import pypdfium2  # noqa: F401
    from PIL import Image

    import deployments.parser.ocr.tesseract  # noqa: F401

    Image.init()


def _has_cuda() -> bool:
    """Tell whether Ray has given the replica a GPU that the installed onnxruntime can use."""
    if not os.environ.get("CUDA_VISIBLE_DEVICES"):
        return False
    import onnxruntime

    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def _confine(memory_bytes: int | None) -> None:
    limit(resource.RLIMIT_NOFILE, _MAX_OPEN_FILES)
    limit(resource.RLIMIT_FSIZE, 0)
    limit(resource.RLIMIT_CORE, 0)
    if memory_bytes is not None:
        limit(resource.RLIMIT_AS, memory_bytes)


def _reply(engine: Engine, request: dict[str, Any], descriptor: int) -> bytes:
    began_s = _cpu_s()
    own_s = sum(os.times()[:2])
    # The kernel ends this process, by SIGXCPU, when the page has taken too much.
    ceiling = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (int(own_s) + PAGE_CPU_S, ceiling))
    try:
        data = _content(descriptor, request["start"], request["size"])
        reply = _page(engine, picture(data, request["media_type"], request["page"]))
    except InvalidRequest as error:
        reply = {"error": error.code}
    except MemoryError:
        reply = {"error": "too_complex"}
    except Exception as error:  # noqa: BLE001 - onnxruntime and OpenCV have errors of their own
        # Type only: the message may quote the document.
        sys.stderr.write(f"{type(error).__name__}\n")
        reply = {"error": "unreadable"}
    reply["cpu_s"] = round(_cpu_s() - began_s, 3)
    return json.dumps(reply, ensure_ascii=False).encode()


def _page(engine: Engine, pixels: NDArray[Any]) -> dict[str, Any]:
    found = engine.read(pixels)
    script = ""
    if found.lines and found.confidence < _TRUSTED_CONFIDENCE:
        from deployments.parser.ocr import tesseract

        script, other = tesseract.read(pixels)
        if other is not None:
            found = other
        elif script:
            found = Recognised("", found.confidence, found.lines)
    if found.confidence < _MIN_CONFIDENCE:
        found = Recognised("", found.confidence, found.lines)
    text = found.text.encode("utf-8", errors="replace")[:MAX_TEXT_BYTES]
    return {
        "text": text.decode("utf-8", errors="ignore"),
        "confidence": round(found.confidence, 3),
        "lines": found.lines,
        "script": script,
    }


def _content(descriptor: int, start: int, size: int | None) -> bytes:
    """Read a file from byte `start` on, and leave the position of its descriptor."""
    parts = []
    left = sys.maxsize if size is None else size
    while left > 0 and (block := os.pread(descriptor, min(left, _BLOCK_BYTES), start)):
        parts.append(block)
        start += len(block)
        left -= len(block)
    return b"".join(parts)


def _cpu_s() -> float:
    return sum(os.times()[:4])


if __name__ == "__main__":
    sys.exit(main())
