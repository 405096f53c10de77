"""All that the configuration needs around it, and the configuration deployed: one site."""

from __future__ import annotations

import contextlib
import io
import re
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from tests.bench.cluster import documented
from tests.bench.cluster.deployed import Deployed
from tests.bench.systems import Configuration, bare
from tests.support.postgres import serve_postgres
from tests.support.processes import ROOT, Command, free_port, started
from tests.support.ray_nodes import RayNodes
from tests.support.web import Web, serve_web

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from serve_app.check.placement.nodes import Node

DEPLOY_TIMEOUT_S = 420.0
_JOB_TIMEOUT_S = 120.0
_POLL_S = 0.5
_DOCUMENT = b"""# The ferry of Lomvik

The ferry of Lomvik crosses the fjord nine times a day. Its captain is Ingrid Solheim, who took
over from her father in 1998. The crossing takes twenty-two minutes.
"""
QUESTION = "Who is the captain of the ferry of Lomvik?"
ANSWERED_BY = "Solheim"
# Two cores read prompts slowly: little is put into them.
_ARGS: Mapping[str, Any] = {
    "answer": {"max_source_tokens": 160, "top_k": 1},
    "limits": {"requests_per_minute": None},  # all requests are of one key: none
}


@dataclass
class Site:
    """A cluster with the application on it, the web that it reads, and its data."""

    nodes: RayNodes
    deployed: Deployed
    document: dict[str, Any]
    web: Web
    cold_start_s: Mapping[str, float]

    @property
    def url(self) -> str:
        """The head's proxy."""
        port: int = self.document["http_options"]["port"]
        return f"http://127.0.0.1:{port}"

    @property
    def head(self) -> Node:
        """The node that knows all others."""
        return documented.nodes()[0]

    def entries(self) -> list[int]:
        """The ports that may take requests: the head's, and one of each worker that is there."""
        head, head_port = self.head, self.document["http_options"]["port"]
        return [
            head_port if running.node == head else running.proxy_port
            for running in [*self.nodes.running.values()]  # a node may go meanwhile
        ]

    def worker_of(self, deployment: str) -> Node:
        """A node other than the head on which a deployment has a replica."""
        places = self.deployed.seen().places(self.nodes.names())[deployment]
        _, *workers = documented.nodes()
        return next(node for node in workers if places[node.name])

    def prompts(self) -> list[str]:
        """The main job: a question to the documents, every fourth naming a page to read."""
        return [*[QUESTION] * 3, f"{QUESTION} Read {self.web.url('/good')} too."]

    def upload(self) -> None:
        """Have the document that holds the answer read and found; raises TimeoutError."""
        files = {"file": ("ferry.md", io.BytesIO(_DOCUMENT), "text/markdown")}
        with httpx.Client(base_url=self.url, timeout=60, trust_env=False) as http:
            answer = http.post("/upload", files=files).raise_for_status().json()
            end = time.monotonic() + _JOB_TIMEOUT_S
            while time.monotonic() < end:
                job = http.get(f"/v1/jobs/{answer['job_id']}").raise_for_status().json()
                if job["status"] == "succeeded":
                    return
                time.sleep(_POLL_S)
        msg = f"the document is not read: {job}"
        raise TimeoutError(msg)

    def answers(self) -> bool:
        """Whether a question is answered with the passage that answers it as its source."""
        body = {"prompt": QUESTION, "max_tokens": 4}
        with contextlib.suppress(httpx.HTTPError):
            answer = httpx.post(f"{self.url}/generate/text", json=body, timeout=60, trust_env=False)
            return answer.is_success and ANSWERED_BY in answer.text
        return False


@contextlib.contextmanager
def documented_site(folder: Path, *, keeps_head: bool = False) -> Iterator[Site]:
    """Start the documented nodes with everything beside them, deploy, and put a document in.

    With `keeps_head`, what the head knows outlives it, on its disk: it may be killed and started.

    Raises StartError, with the end of a log, if something does not start.
    """
    small = Configuration.read(ROOT / "configs" / "cpu.yaml")
    llm = bare(small)
    # One thread: two that wait for each other lose most where all else wants the cores too.
    one_thread = {"OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    command = replace(llm.command, env={**llm.command.env, **one_thread})
    environment = documented.environment()
    with contextlib.ExitStack() as stack:
        short = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="r-")))
        if keeps_head:
            kept = {"RAY_gcs_storage": "rocksdb", "RAY_gcs_storage_path": str(short / "gcs")}
            environment |= kept
        web = stack.enter_context(serve_web())
        postgres = stack.enter_context(serve_postgres())
        qdrant = _qdrant()
        stack.enter_context(started(qdrant, folder / "qdrant.log"))
        environment["GENSERVE_JOBS_DATABASE_URL"] = postgres
        cluster = RayNodes(short, environment).started(documented.nodes())
        with ThreadPoolExecutor(1) as pool:  # nodes wait for each other, the model computes
            joining = pool.submit(stack.enter_context, cluster)
            stack.enter_context(started(command, folder / "vllm.log"))
            nodes = joining.result()
        document = documented.scaled_down(
            port=free_port(),
            args={
                **_args(folder, small, llm.target.url, web),
                "retriever": {"store": "qdrant", "url": qdrant.ready_url},
                # As in a cluster: what the dashboard shows has no password.
                "jobs": {"database_url": re.sub(r":[^:@/]+@", "@", postgres)},
            },
        )
        deployed = Deployed(nodes)
        deployed.put(document)
        deployed.wait_until_well(DEPLOY_TIMEOUT_S)
        site = Site(nodes, deployed, document, web, dict(deployed.healthy_after_s))
        site.upload()
        yield site


def _qdrant() -> Command:
    """A Qdrant server's stand-in, see there."""
    port = free_port()
    args = (sys.executable, "-m", "tests.bench.cluster.qdrant", str(port))
    return Command(args, f"http://127.0.0.1:{port}")


def _args(folder: Path, small: Configuration, chat_url: str, web: Web) -> dict[str, Any]:
    """One language model behind all replicas, pages on loopback, a folder that all reach."""
    data_dir = folder / "data"
    data_dir.mkdir()
    (data_dir / "models").symlink_to(small.data_dir / "models", target_is_directory=True)
    name = small.llm["served_name"]
    return {
        **_ARGS,
        "data_dir": str(data_dir),
        "llm": {
            "engine": "openai",
            "model": name,
            "served_name": name,
            "engine_args": {},
            "base_url": chat_url.removesuffix("/chat/completions"),
            "context_tokens": small.llm["engine_args"]["max_model_len"],
        },
        "scraper": {
            "page_timeout_s": 3.0,
            "allowed_networks": ["127.0.0.0/8"],
            "allowed_ports": [80, 443, web.port],
        },
        "files": f"file://{folder / 'files'}",
    }
