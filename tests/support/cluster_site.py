"""Start a Ray cluster with everything that `serve_config.yaml` needs, and deploy it."""

from __future__ import annotations

import contextlib
import io
import re
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from tests.support import cluster_config
from tests.support.jobs import job_ended
from tests.support.postgres import serve_postgres
from tests.support.processes import StartError, free_port, started
from tests.support.qdrant_stand_in import qdrant_stand_in
from tests.support.ray_nodes import RayNodes
from tests.support.serve_application import ServeApplication
from tests.support.systems import CPU, Configuration, bare
from tests.support.web import Web, serve_web

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from serve_app.check.placement.nodes import Node

DEPLOY_TIMEOUT_S = 420.0
_JOB_TIMEOUT_S = 120.0
_DOCUMENT = b"""# The ferry of Lomvik

The ferry of Lomvik crosses the fjord nine times a day. Its captain is Ingrid Solheim, who took
over from her father in 1998. The crossing takes twenty-two minutes.
"""
QUESTION = "Who is the captain of the ferry of Lomvik?"
ANSWERED_BY = "Solheim"
# Two cores process prompts slowly, so they are kept short.
_ARGS: Mapping[str, Any] = {
    "answer": {"max_source_tokens": 160, "top_k": 1},
    "limits": {"requests_per_minute": None},  # all requests are of one key: none
}


@dataclass
class Site:
    """A cluster with the deployed application, and a web server for it to read."""

    nodes: RayNodes
    application: ServeApplication
    document: dict[str, Any]
    web: Web
    cold_start_s: Mapping[str, float]
    database: str

    @property
    def url(self) -> str:
        """The address of the head's proxy."""
        port: int = self.document["http_options"]["port"]
        return f"http://127.0.0.1:{port}"

    @property
    def head(self) -> Node:
        """The head node."""
        return cluster_config.nodes()[0]

    def proxy_ports(self) -> list[int]:
        """Return the proxy ports of the head and of each running worker."""
        head, head_port = self.head, self.document["http_options"]["port"]
        return [
            head_port if running.node == head else running.proxy_port
            for running in [*self.nodes.running.values()]  # a node may be removed meanwhile
        ]

    def worker_of(self, deployment: str) -> Node:
        """Return a worker on which a deployment has a replica."""
        places = self.application.state().places(self.nodes.names())[deployment]
        _, *workers = cluster_config.nodes()
        return next(node for node in workers if places[node.name])

    def prompts(self) -> list[str]:
        """Return four questions to the documents, one of which also names a page to read."""
        return [*[QUESTION] * 3, f"{QUESTION} Read {self.web.url('/good')} too."]

    def upload(self) -> None:
        """Upload the document with the answer and wait for its job.

        Raises TimeoutError if the job does not end, StartError if it fails.
        """
        files = {"file": ("ferry.md", io.BytesIO(_DOCUMENT), "text/markdown")}
        with httpx.Client(base_url=self.url, timeout=60, trust_env=False) as http:
            answer = http.post("/upload", files=files).raise_for_status().json()
            job = job_ended(http, answer["job_id"], _JOB_TIMEOUT_S)
        if job["status"] != "succeeded":
            msg = f"the document was not processed: {job}"
            raise StartError(msg)

    def answers(self) -> bool:
        """Return whether a question is answered, with the right passage as a source."""
        body = {"prompt": QUESTION, "max_tokens": 4}
        with contextlib.suppress(httpx.HTTPError):
            answer = httpx.post(f"{self.url}/generate/text", json=body, timeout=60, trust_env=False)
            return answer.is_success and ANSWERED_BY in answer.text
        return False


@contextlib.contextmanager
def documented_site(folder: Path, *, keeps_head: bool = False) -> Iterator[Site]:
    """Start the documented nodes with everything they need, deploy, and upload a document.

    With `keeps_head`, the head keeps its state on disk, so that it may be killed and restarted.

    Raises StartError, with the end of a log, if something does not start.
    """
    small = Configuration.read(CPU)
    llm = bare(small)
    # One thread: two that wait for each other are slowest when other processes use the cores.
    one_thread = {"OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    command = replace(llm.command, env={**llm.command.env, **one_thread})
    environment = cluster_config.environment()
    with contextlib.ExitStack() as stack:
        short = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="r-")))
        if keeps_head:
            kept = {"RAY_gcs_storage": "rocksdb", "RAY_gcs_storage_path": str(short / "gcs")}
            environment |= kept
        web = stack.enter_context(serve_web())
        postgres = stack.enter_context(serve_postgres())
        qdrant = qdrant_stand_in()
        stack.enter_context(started(qdrant, folder / "qdrant.log"))
        environment["GENSERVE_DATABASE_URL"] = postgres
        cluster = RayNodes(short, environment).started(cluster_config.nodes())
        with ThreadPoolExecutor(1) as pool:  # nodes start while the model loads
            joining = pool.submit(stack.enter_context, cluster)
            stack.enter_context(started(command, folder / "vllm.log"))
            nodes = joining.result()
        document = cluster_config.scaled_down(
            port=free_port(),
            args={
                **_args(folder, small, llm.target.url, web),
                "retriever": {"store": "qdrant", "url": qdrant.ready_url},
                # As in a cluster: the password is in the environment, not in the dashboard.
                "database_url": re.sub(r":[^:@/]+@", "@", postgres),
            },
        )
        application = ServeApplication(nodes)
        application.put(document)
        application.wait_until_healthy(DEPLOY_TIMEOUT_S)
        cold_start_s = dict(application.healthy_after_s)
        site = Site(nodes, application, document, web, cold_start_s, postgres)
        site.upload()
        yield site


def _args(folder: Path, small: Configuration, chat_url: str, web: Web) -> dict[str, Any]:
    """Return settings: one language model behind all replicas, pages on loopback, shared files."""
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
