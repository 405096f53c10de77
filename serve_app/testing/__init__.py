"""Test a client against GenServe in memory: no Ray, no models, no network.

`fake_service` returns the real FastAPI application, with its routes, keys, limits and errors,
over capabilities that answer at once: the model repeats the last message, a search finds the
paragraphs of the uploads that share a word with the query, every picture is a grey square.

    import openai
    from fastapi.testclient import TestClient
    from serve_app.testing import fake_service

    http = TestClient(
        fake_service(), base_url="http://127.0.0.1", client=("127.0.0.1", 50000)
    )
    client = openai.OpenAI(base_url="http://127.0.0.1/v1", api_key="any", http_client=http)
    answer = client.chat.completions.create(
        model="genserve", messages=[{"role": "user", "content": "Hello there"}]
    )
    assert answer.choices[0].message.content == "Hello there"

`client` is the address that requests come from: without API keys, the service refuses requests
from other machines, and `TestClient` would name no address of this one.

To make a capability fail or answer something else, keep the fakes:

    from deployments.errors import Unavailable
    from serve_app.testing import Fakes, fake_service

    fakes = Fakes()
    fakes.scraper.error = Unavailable("the scraper is restarting")
    app = fake_service(fakes)

With fakes of your own, jobs stay queued unless `fakes.jobs.runs` is set.

A server in its own process: `python -m uvicorn --factory serve_app.testing:fake_service`.
"""

from serve_app.testing.documents import FakeEmbedder, FakeParser, FakeRetriever, FakeScraper
from serve_app.testing.jobs import FakeImages, FakeJobs
from serve_app.testing.llm import MODEL, FakeModel
from serve_app.testing.service import Fakes, fake_service, fake_settings

__all__ = [
    "MODEL",
    "FakeEmbedder",
    "FakeImages",
    "FakeJobs",
    "FakeModel",
    "FakeParser",
    "FakeRetriever",
    "FakeScraper",
    "Fakes",
    "fake_service",
    "fake_settings",
]
