"""A client that leaves takes nothing from those who stay."""

from __future__ import annotations

import socket
import threading
import time
from urllib.parse import urlsplit

import httpx

from tests.support.service import Service

ROUNDS = 8
SHARED_FOR_S = 1.2  # a little longer than what one answer of /readyz serves everybody
LEAVES_AFTER_S = 0.004


def leave_early(service: Service) -> None:
    """Ask whether the service is ready, and go before it has answered."""
    address = urlsplit(service.url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        time.sleep(LEAVES_AFTER_S)


def test_who_leaves_does_not_make_the_service_unready_for_others(service: Service) -> None:
    seen: list[tuple[int, str]] = []
    with httpx.Client(base_url=service.url, timeout=30) as client:
        for _ in range(ROUNDS):
            time.sleep(SHARED_FOR_S)
            leaving = threading.Thread(target=leave_early, args=(service,))
            leaving.start()
            time.sleep(LEAVES_AFTER_S / 2)
            answer = client.get("/readyz")
            leaving.join()
            seen.append((answer.status_code, answer.text))
    assert [text for status, text in seen if status != httpx.codes.OK] == []
