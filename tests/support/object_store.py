"""An S3 server on loopback: moto's, which keeps its objects in memory."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import httpx

from tests.support.daemons import Daemon, running
from tests.support.processes import free_port

_BUCKET = "genserve-files"


class ObjectStore(Daemon):
    """A bucket at one address; stopped and started again, it is empty."""

    url = f"s3://{_BUCKET}/production"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
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
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self._port)]
        self.spawn(command, self._folder / "log", self._make_bucket, httpx.HTTPError)

    def _make_bucket(self) -> None:
        httpx.put(f"{self.environment['AWS_ENDPOINT_URL']}/{_BUCKET}").raise_for_status()

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


def serve_objects() -> AbstractContextManager[ObjectStore]:
    """Run a store with an empty bucket while the block lasts."""
    return running(ObjectStore)
