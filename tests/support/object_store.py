"""An S3 server on loopback: moto's, which keeps its objects in memory."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping

import httpx

from tests.support.daemons import Daemon
from tests.support.processes import free_port

_START_TIMEOUT_S = 60.0
_POLL_S = 0.05
_BUCKET = "genserve-files"


class ObjectStore(Daemon):
    """A bucket at one address; stopped and started again, it is empty."""

    url = f"s3://{_BUCKET}/production"

    def __init__(self) -> None:
        self._port = free_port()

    @property
    def environment(self) -> Mapping[str, str]:
        """What the nodes are given, with names that S3's clients know."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self._port)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is pytest's
        )
        end = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(httpx.HTTPError):
                httpx.put(f"{self.environment['AWS_ENDPOINT_URL']}/{_BUCKET}").raise_for_status()
                return
            time.sleep(_POLL_S)
        msg = "the object store did not start"
        raise RuntimeError(msg)

    @contextlib.contextmanager
    def denying(self, action: str) -> Iterator[None]:
        """Allow nobody to do this with the bucket's objects; moto checks each by its method."""
        policy = f"{self.environment['AWS_ENDPOINT_URL']}/{_BUCKET}?policy"
        deny = {"Effect": "Deny", "Principal": "*", "Action": action}
        deny["Resource"] = f"arn:aws:s3:::{_BUCKET}/*"
        body = {"Version": "2012-10-17", "Statement": [deny]}
        httpx.put(policy, json=body).raise_for_status()
        try:
            yield
        finally:
            httpx.delete(policy).raise_for_status()


@contextlib.contextmanager
def serve_objects() -> Iterator[ObjectStore]:
    """Yield a store that is running, with an empty bucket."""
    store = ObjectStore()
    try:
        store.start()
        yield store
    finally:
        store.kill()
