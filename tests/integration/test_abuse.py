"""One key attacks the running service; another key's chats and health checks go on."""

from __future__ import annotations

import asyncio
import time

import httpx

from tests.support.attacks import ran
from tests.support.bystander import attacking, chats, replicas
from tests.support.processes import free_port
from tests.support.service import Service

_ATTACKS = ("unfinished_bodies", "unread_downloads", "huge_embeddings")


def test_a_second_key_is_served_while_the_first_attacks(service: Service) -> None:
    before = replicas(service.launcher)
    attacker = {"authorization": f"Bearer {service.others_key}"}
    with attacking(service.url, service.others_key, free_port(), *_ATTACKS) as attacks:
        with httpx.Client(base_url=service.url, headers=attacker) as http:
            began = time.monotonic()
            while http.get("/v1/models").status_code != 429:
                assert time.monotonic() - began < 120, "the attack does not fill its share"
        seen = asyncio.run(chats(service.url, service.key, 20))
    for name, sent in attacks.items():
        assert ran(name, sent), (name, sent)
    assert attacks["unread_downloads"]["200"]
    assert seen.succeeded >= 0.95  # how fast, `make bench-abuse` tells
    assert seen.unhealthy == 0
    assert seen.healths_s
    assert before.keys() <= replicas(service.launcher).keys()
