"""Ray itself lets nobody in without the token, and listens on no other address than loopback.

`make test-long` shows the same of a cluster.
"""

from __future__ import annotations

from pathlib import Path

from serve_app.launch.progress import dashboard
from tests.support.ray_exposure import (
    grpc_interfaces,
    http_interfaces,
    listening,
    reachable_from_elsewhere,
)
from tests.support.service import Service


def test_ray_lets_nobody_in_without_the_token(service: Service) -> None:
    data = Path(service.settings["data_dir"])
    address = dashboard(data / "logs" / "serve.log")
    token = (data / "ray_token").read_text()
    ports = listening(service.processes())
    called = [*http_interfaces(address, {}, token), *grpc_interfaces(ports)]
    assert [one for one in called if not one.protected] == []
    kinds = {one.where.partition(":")[0] for one in called}
    assert kinds == {"dashboard", "gcs_server", "raylet", "ray"}
    assert not reachable_from_elsewhere(int(address.rpartition(":")[2]))
