"""Two API keys at the running service: over every route that takes an id, nothing leaks.

Each of two keys has things of its own. Every operation is tried by each on every id of the other,
twice, in a shuffled order. It must be answered byte for byte as the same question about something
that nobody has, and no answer may hold a word of the other's secrets.
"""

from __future__ import annotations

import json
import random
import re
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.jobs import job_ended
from tests.support.leftovers import files_with
from tests.support.service import Service

ROUNDS = 2
SEED = 20_261_124


@dataclass
class Person:
    """Somebody with a key; `secret` is a word that stands in everything of theirs."""

    name: str
    http: httpx.Client
    secret: str = field(default_factory=lambda: f"zebra{secrets.token_hex(6)}")
    ids: dict[str, list[str]] = field(default_factory=dict)
    collection: str = ""

    def own(self, kind: str, some_id: str) -> str:
        self.ids.setdefault(kind, []).append(some_id)
        return some_id

    def furnish(self) -> None:
        """Make one of everything that has an id."""
        text = f"# {self.secret}\n\nThe password of {self.name} is {self.secret}."
        for number in range(2):
            kept = self.http.post(
                "/v1/files",
                files={"file": (f"{self.secret}-{number}.md", f"{text} {number}")},
                data={"purpose": "user_data"},
            )
            self.own("file", kept.json()["id"])
        store = self.http.post(
            "/v1/vector_stores",
            json={"name": f"store of {self.secret}", "file_ids": self.ids["file"][:1]},
        )
        store_id = self.own("store", store.json()["id"])
        batch = self.http.post(
            f"/v1/vector_stores/{store_id}/file_batches",
            json={"file_ids": self.ids["file"][1:]},
        )
        self.own("batch", batch.json()["id"])
        # The same names for both: `default`, and one that each chose alike.
        for collection in ("default", "shared-name"):
            uploaded = self.http.post(
                "/upload",
                files={"file": (f"{self.secret}.md", text)},
                data={"collection": collection},
            ).json()
            self.own("job", uploaded["job_id"])
            kind = "document" if collection == "default" else "shared"
            self.own(kind, uploaded["document_id"])
        images = self.http.post(
            "/generate/image/background", json={"prompt": f"a red circle {self.secret}"}
        ).json()
        self.own("job", images["job_id"])
        self.own("picture", images["job_id"])
        for job_id in self.ids["job"]:
            assert job_ended(self.http, job_id)["status"] == "succeeded"
        import_id = self.own("import", f"imp_{secrets.token_hex(16)}")
        exported = self.http.get(f"/v1/vector_stores/{store_id}/export").content
        self.http.put(f"/v1/imports/{import_id}/parts/0", content=exported)
        nothing = self.http.post("/v1/erasures", json={"document_id": NOBODYS["document"]})
        self.own("erasure", nothing.json()["id"])
        ask = {"model": "genserve", "input": self.secret, "max_output_tokens": 1}
        conversation = self.http.post(
            "/v1/conversations", json={"items": [{"role": "user", "content": self.secret}]}
        ).json()
        self.own("conversation", conversation["id"])
        for more in ({"conversation": conversation["id"]}, {"background": True}):
            response = self.http.post("/v1/responses", json=ask | more).json()
            self.own("response", response["id"])
            while response["status"] in {"queued", "in_progress"}:
                time.sleep(0.2)
                response = self.http.get(f"/v1/responses/{response['id']}").json()
            assert response["status"] in {"completed", "incomplete"}
            self.own("item", response["output"][0]["id"])
        attached = f"/v1/vector_stores/{self.ids['store'][0]}/files/{self.ids['file'][0]}"
        assert self.http.get(attached).json()["status"] in {"in_progress", "completed"}


@pytest.fixture(scope="module")
def people(service: Service) -> Iterator[list[Person]]:
    with (
        httpx.Client(base_url=service.url, headers=service.headers, timeout=120) as one,
        httpx.Client(
            base_url=service.url,
            headers={"authorization": f"Bearer {service.others_key}"},
            timeout=120,
        ) as other,
    ):
        people = [Person("one", one), Person("other", other)]
        for person in people:
            person.furnish()
        yield people


NOBODYS: dict[str, str] = {
    "job": "job_" + "0" * 32,
    "picture": "job_" + "0" * 32,
    "document": "doc_" + "0" * 32,
    "shared": "doc_" + "0" * 32,
    "file": "file-" + "0" * 32,
    "store": "vs_" + "0" * 24,
    "erasure": "era_" + "0" * 32,
    "batch": "vsfb_" + "0" * 24,
    "import": "imp_" + "0" * 32,
    "response": "resp_" + "0" * 32,
    "conversation": "conv_" + "0" * 32,
    "item": "msg_" + "0" * 56,
}
_ITEMS = [{"role": "user", "content": "mine now"}]
_COUNTED = {"model": "genserve", "input": "zebra?"}
_ASK = {**_COUNTED, "max_output_tokens": 1}
Call = tuple[str, str, dict[str, Any]]
Operation = tuple[str, Callable[[str], Call]]

# Every route that takes an id: what kind of id, and the call made with it.
OPERATIONS_BY_ID: list[Operation] = [
    ("job", lambda i: ("GET", f"/v1/jobs/{i}", {})),
    ("job", lambda i: ("POST", f"/v1/jobs/{i}/cancel", {})),
    ("job", lambda i: ("GET", f"/v1/jobs/{i}/events", {})),
    ("job", lambda i: ("GET", "/v1/jobs", {"params": {"after": i}})),
    ("picture", lambda i: ("GET", f"/v1/images/{i}/0.png", {})),
    ("document", lambda i: ("GET", f"/v1/documents/{i}", {})),
    ("document", lambda i: ("DELETE", f"/v1/documents/{i}", {})),
    ("document", lambda i: ("POST", f"/v1/documents/{i}", {"json": {"filename": "mine now"}})),
    ("document", lambda i: ("GET", f"/v1/documents/{i}/versions", {})),
    ("document", lambda i: ("GET", f"/v1/documents/{i}/content", {})),
    ("shared", lambda i: ("GET", f"/v1/documents/{i}/content?collection=shared-name", {})),
    ("document", lambda i: ("POST", f"/v1/documents/{i}/restore", {})),
    ("shared", lambda i: ("GET", f"/v1/documents/{i}?collection=shared-name", {})),
    ("shared", lambda i: ("DELETE", f"/v1/documents/{i}?collection=shared-name", {})),
    ("erasure", lambda i: ("GET", f"/v1/erasures/{i}", {})),
    ("file", lambda i: ("GET", f"/v1/files/{i}", {})),
    ("file", lambda i: ("GET", f"/v1/files/{i}/content", {})),
    ("file", lambda i: ("DELETE", f"/v1/files/{i}", {})),
    ("file", lambda i: ("POST", "/v1/vector_stores", {"json": {"file_ids": [i]}})),
    ("file", lambda i: ("POST", "/v1/vector_stores/default/files", {"json": {"file_id": i}})),
    ("file", lambda i: ("GET", f"/v1/vector_stores/default/files/{i}", {})),
    ("file", lambda i: ("DELETE", f"/v1/vector_stores/default/files/{i}", {})),
    (
        "file",
        lambda i: ("POST", f"/v1/vector_stores/default/files/{i}", {"json": {"attributes": {}}}),
    ),
    ("file", lambda i: ("GET", f"/v1/vector_stores/default/files/{i}/content", {})),
    (
        "file",
        lambda i: ("POST", "/v1/vector_stores/default/file_batches", {"json": {"file_ids": [i]}}),
    ),
    ("batch", lambda i: ("GET", f"/v1/vector_stores/default/file_batches/{i}", {})),
    ("batch", lambda i: ("GET", f"/v1/vector_stores/default/file_batches/{i}/files", {})),
    ("batch", lambda i: ("POST", f"/v1/vector_stores/default/file_batches/{i}/cancel", {})),
    ("import", lambda i: ("GET", f"/v1/imports/{i}", {})),
    ("import", lambda i: ("DELETE", f"/v1/imports/{i}", {})),
    (
        "import",
        lambda i: ("POST", "/v1/imports", {"json": {"import_id": i, "size_bytes": 1}}),
    ),
    ("response", lambda i: ("GET", f"/v1/responses/{i}", {})),
    ("response", lambda i: ("GET", f"/v1/responses/{i}?stream=true", {})),
    ("response", lambda i: ("GET", f"/v1/responses/{i}/input_items", {})),
    ("response", lambda i: ("POST", f"/v1/responses/{i}/cancel", {})),
    ("response", lambda i: ("DELETE", f"/v1/responses/{i}", {})),
    ("response", lambda i: ("POST", "/v1/responses", {"json": _ASK | {"previous_response_id": i}})),
    ("conversation", lambda i: ("POST", "/v1/responses", {"json": _ASK | {"conversation": i}})),
    (
        "response",
        lambda i: (
            "POST",
            "/v1/responses/input_tokens",
            {"json": _COUNTED | {"previous_response_id": i}},
        ),
    ),
    (
        "conversation",
        lambda i: ("POST", "/v1/responses/input_tokens", {"json": _COUNTED | {"conversation": i}}),
    ),
    ("conversation", lambda i: ("GET", f"/v1/conversations/{i}", {})),
    ("conversation", lambda i: ("POST", f"/v1/conversations/{i}", {"json": {"metadata": {}}})),
    ("conversation", lambda i: ("DELETE", f"/v1/conversations/{i}", {})),
    ("conversation", lambda i: ("GET", f"/v1/conversations/{i}/items", {})),
    (
        "conversation",
        lambda i: ("POST", f"/v1/conversations/{i}/items", {"json": {"items": _ITEMS}}),
    ),
    ("conversation", lambda i: ("GET", f"/v1/conversations/{i}/items/{NOBODYS['item']}", {})),
    ("conversation", lambda i: ("DELETE", f"/v1/conversations/{i}/items/{NOBODYS['item']}", {})),
    (
        "item",
        lambda i: (
            "POST",
            "/v1/responses",
            {"json": _ASK | {"input": [{"type": "item_reference", "id": i}]}},
        ),
    ),
    ("store", lambda i: ("GET", f"/v1/vector_stores/{i}/export", {})),
    ("store", lambda i: ("GET", f"/v1/vector_stores/{i}", {})),
    ("store", lambda i: ("POST", f"/v1/vector_stores/{i}", {"json": {"name": "mine now"}})),
    ("store", lambda i: ("DELETE", f"/v1/vector_stores/{i}", {})),
    ("store", lambda i: ("GET", f"/v1/vector_stores/{i}/files", {})),
    ("store", lambda i: ("GET", f"/v1/vector_stores/{i}/files/{NOBODYS['file']}", {})),
    ("store", lambda i: ("DELETE", f"/v1/vector_stores/{i}/files/{NOBODYS['file']}", {})),
    ("store", lambda i: ("POST", f"/v1/vector_stores/{i}/search", {"json": {"query": "zebra"}})),
    ("store", lambda i: ("GET", "/v1/documents", {"params": {"collection": i}})),
    (
        "store",
        lambda i: (
            "POST",
            "/generate/text",
            {"json": {"prompt": "zebra?", "collection": i, "max_tokens": 1}},
        ),
    ),
]
# What lists or searches without an id: never a word of the other's.
OPERATIONS_AT_LARGE: list[Call] = [
    ("GET", "/v1/jobs", {"params": {"limit": 100}}),
    ("GET", "/v1/documents", {}),
    ("GET", "/v1/documents", {"params": {"collection": "shared-name"}}),
    ("GET", "/v1/files", {}),
    ("GET", "/v1/vector_stores", {"params": {"limit": 100}}),
    ("GET", "/v1/vector_stores/default", {}),
    ("GET", "/v1/vector_stores", {"params": {"after": "vs_" + "f" * 24}}),
    ("POST", "/v1/vector_stores/default/search", {"json": {"query": "password zebra"}}),
    ("POST", "/v1/vector_stores/shared-name/search", {"json": {"query": "password zebra"}}),
]
# Two ids: another's store, and a file of one's own.
OPERATIONS_BY_TWO: list[Callable[[str, str], Call]] = [
    lambda i, mine: ("POST", f"/v1/vector_stores/{i}/files", {"json": {"file_id": mine}}),
    lambda i, mine: ("POST", f"/v1/vector_stores/{i}/file_batches", {"json": {"file_ids": [mine]}}),
    lambda i, mine: ("GET", f"/v1/vector_stores/{i}/files/{mine}", {}),
    lambda i, mine: ("POST", f"/v1/vector_stores/{i}/files/{mine}", {"json": {"attributes": {}}}),
    lambda i, mine: ("DELETE", f"/v1/vector_stores/{i}/files/{mine}", {}),
]


def by_two(mine: str) -> list[Operation]:
    def bound(make: Callable[[str, str], Call]) -> Callable[[str], Call]:
        return lambda store: make(store, mine)

    return [("store", bound(make)) for make in OPERATIONS_BY_TWO]


def asked(person: Person, call: Call) -> tuple[int, str]:
    method, path, more = call
    answer = person.http.request(method, path, **more)
    return answer.status_code, answer.text


def trials(one: Person, other: Person) -> list[Trial]:
    """Every operation of one on every id of the other, and every one without an id."""
    operations = [*OPERATIONS_BY_ID, *by_two(one.ids["file"][1])]
    by_id = [
        Trial(one, other, make(theirs), theirs, make(NOBODYS[kind]), NOBODYS[kind])
        for kind, make in operations
        for theirs in other.ids[kind]
    ]
    return by_id + [Trial(one, other, call) for call in OPERATIONS_AT_LARGE]


@dataclass(frozen=True)
class Trial:
    """A call of one key; `theirs` is the id in it, `nowhere` the same call with nobody's id."""

    one: Person
    other: Person
    call: Call
    theirs: str = ""
    nowhere: Call | None = None
    nobodys: str = ""

    def run(self) -> None:
        status, text = asked(self.one, self.call)
        if self.nowhere is None:
            assert status == 200, (self.call, text)
        else:
            # An answer may repeat the id that it was asked for, and no more.
            assert status in {400, 404}, (self.call, status, text)
            nowhere, nothing = asked(self.one, self.nowhere)
            told = text.replace(self.theirs, "")
            assert (status, told) == (nowhere, nothing.replace(self.nobodys, "")), self.call
        assert self.other.secret not in text, self.call
        ids = {some_id for ids in self.other.ids.values() for some_id in ids} - {self.theirs}
        assert not any(some_id in text for some_id in ids), text


def test_no_operation_of_one_key_leaks_anything_of_another(people: list[Person]) -> None:
    one, other = people
    every = [*trials(one, other), *trials(other, one)] * ROUNDS
    random.Random(SEED).shuffle(every)  # noqa: S311 - to be the same at every run
    assert len(every) > 200
    for trial in every:
        trial.run()
    # Each kept what was theirs, whatever the other tried.
    for person in people:
        for kind, path in (
            ("job", "/v1/jobs/{}"),
            ("picture", "/v1/images/{}/0.png"),
            ("document", "/v1/documents/{}"),
            ("shared", "/v1/documents/{}?collection=shared-name"),
            ("file", "/v1/files/{}/content"),
            ("store", "/v1/vector_stores/{}"),
            ("response", "/v1/responses/{}"),
            ("conversation", "/v1/conversations/{}/items"),
        ):
            for some_id in person.ids[kind]:
                assert person.http.get(path.format(some_id)).status_code == 200, path
        found = person.http.post(
            "/v1/vector_stores/default/search", json={"query": "password"}
        ).json()["data"]
        assert person.secret in json.dumps(found)


def test_every_route_that_takes_an_id_is_asked(service: Service) -> None:
    schema = httpx.get(f"{service.url}/openapi.json").json()["paths"]
    routes = {
        (method.upper(), path)
        for path, methods in schema.items()
        if "{" in path
        for method in methods
    }
    asked = set()
    for kind, make in [*OPERATIONS_BY_ID, *by_two(NOBODYS["file"])]:
        method, path, _ = make(NOBODYS[kind])
        path = path.partition("?")[0]
        for route_method, route in routes:
            pattern = re.sub(r"\{[^}]+\}", "[^/]+", route)
            if method == route_method and re.fullmatch(pattern, path):
                asked.add((route_method, route))
    models = {route for route in routes if route[1].startswith("/v1/models")}
    # Whoever sends a part names an import of their own by its id.
    own = {("PUT", "/v1/imports/{import_id}/parts/{number}")}
    assert routes - asked - models == own


def test_the_same_idempotency_key_of_two_people_is_two_jobs(people: list[Person]) -> None:
    jobs = [
        person.http.post(
            "/generate/image/background",
            json={"prompt": "a blue square"},
            headers={"idempotency-key": "the same"},
        ).json()["job_id"]
        for person in people
    ]
    assert jobs[0] != jobs[1]
    assert all(
        person.http.get(f"/v1/jobs/{job}").is_success
        for person, job in zip(people, jobs, strict=True)
    )


@pytest.mark.long  # a minute passes between two erasures; test_erasures is the short version
def test_an_erased_document_is_nowhere_in_the_data_folder(
    people: list[Person], service: Service
) -> None:
    one = people[0]
    data = Path(service.settings["data_dir"])
    ray = (data / "ray").resolve()
    secret = f"okapi{secrets.token_hex(6)}"
    for version in range(2):
        uploaded = one.http.post(
            "/upload", files={"file": (f"{secret}.md", f"# {secret}\n\nVersion {version}.")}
        ).json()
        assert job_ended(one.http, uploaded["job_id"])["status"] == "succeeded"
    # Logs hold no names of files, no contents and no prompts, also of what is not erased.
    for person in people:
        assert files_with(ray, person.secret, secret) == []
        assert files_with(data / "logs", person.secret, secret) == []
    assert files_with(data, secret)
    body = {"document_id": uploaded["document_id"]}
    erasure = one.http.post("/v1/erasures", json=body).json()
    while erasure["status"] != "completed":
        time.sleep(1)
        erasure = one.http.get(f"/v1/erasures/{erasure['id']}").raise_for_status().json()
    assert (erasure["removed"]["documents"], erasure["removed"]["versions"]) == (1, 2)
    assert files_with(data, secret) == []
    for person in people:
        found = person.http.post(
            "/v1/vector_stores/default/search", json={"query": "password"}
        ).json()["data"]
        assert person.secret in json.dumps(found)
