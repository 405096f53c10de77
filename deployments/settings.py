"""What can be set for each deployment: one frozen pydantic model a package, unknown keys refused.

They live here rather than with `serve_app.settings.AppSettings`, which is made of them,
because a deployment must not import the application that composes it.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network  # noqa: TC003 - pydantic reads annotations
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

ModelSource = Annotated[str, Field(min_length=1, max_length=400)]
"""A Hugging Face id, a local path, or `package:NAME` for weights inside a Python package."""


Precision = Literal["float32", "bfloat16", "float16"]
"""Of a model's weights and passes; what leaves it is float32 all the same."""


ServedName = Annotated[
    str, Field(max_length=200, description="The id clients use; by default the model's own name.")
]


def own_name(model: str) -> str:
    """Name a model by the last part of its source."""
    return re.split(r"[/:]", model.rstrip("/"))[-1]


class Settings(BaseModel):
    """Frozen, and refuses what it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class LLMSettings(Settings):
    """The language model."""

    engine: Literal["vllm", "openai"] = "vllm"
    model: ModelSource = Field(description="What to load; for `openai`, the endpoint's model id.")
    served_name: str = Field(min_length=1, max_length=200, description="The id clients use.")
    engine_args: dict[str, Any] = Field(
        default_factory=dict,
        description="vLLM's engine arguments, by their Python names.",
    )
    base_url: str | None = Field(default=None, description="`openai`: the endpoint, with /v1.")
    context_tokens: PositiveInt = Field(
        default=8192, description="`openai`: the window of the model, which cannot be asked for."
    )
    connect_timeout_s: PositiveFloat = 10.0
    read_timeout_s: PositiveFloat = Field(
        default=120.0, description="`openai`: the longest silence between two pieces."
    )
    retry_attempts: Annotated[int, Field(ge=1, le=10)] = 4
    retry_timeout_s: PositiveFloat = 20.0


class EmbedderSettings(Settings):
    """The embedding model, and the reranker beside it."""

    model: ModelSource
    served_name: ServedName = ""
    revision: str | None = None
    trust_remote_code: bool = False
    device: str = Field(default="cpu", description="cpu, cuda, or auto.")
    dtype: Precision = "float32"
    threads: Annotated[int, Field(ge=1, le=256)] = 1
    query_prefix: str = ""
    passage_prefix: str = ""
    max_batch_tokens: PositiveInt = 8192
    batch_wait_s: Annotated[float, Field(ge=0, le=1)] = 0.005
    max_texts_per_call: PositiveInt = 2048
    reranker: ModelSource | None = Field(
        default=None,
        description="A cross-encoder that scores question and passage together, on the same "
        "device; one that brings no code of its own.",
    )
    reranker_revision: str | None = None
    max_pairs_per_call: PositiveInt = Field(default=256, description="Passages of one question.")

    @property
    def name(self) -> str:
        """The id clients use."""
        return self.served_name or own_name(self.model)


class ScraperSettings(Settings):
    """Reading pages named in a prompt."""

    max_pages: Annotated[int, Field(ge=1, le=100)] = 8
    page_timeout_s: PositiveFloat = 8.0
    connect_timeout_s: PositiveFloat = 3.0
    max_page_bytes: PositiveInt = Field(default=2_000_000, description="After decompression.")
    max_pdf_bytes: PositiveInt = 10_000_000
    max_text_chars: PositiveInt = 100_000
    max_redirects: Annotated[int, Field(ge=0, le=20)] = 5
    max_connections: PositiveInt = 64
    max_connections_per_host: PositiveInt = 4
    allowed_ports: tuple[Annotated[int, Field(ge=1, le=65535)], ...] = (80, 443)
    allowed_networks: tuple[IPv4Network | IPv6Network, ...] = Field(
        default=(), description="Private networks opened by the operator; none by default."
    )
    respect_robots: bool = True
    robots_timeout_s: PositiveFloat = 2.0
    robots_cache_s: PositiveFloat = 3600.0
    robots_retry_s: PositiveFloat = Field(
        default=30.0, description="How long a robots.txt that could not be read is not retried."
    )
    max_robots_bytes: PositiveInt = Field(default=512_000, description="Of one robots.txt.")
    robots_cache_bytes: PositiveInt = Field(default=8_000_000, description="Of all that are kept.")
    extract_processes: Annotated[int, Field(ge=1, le=32)] = 1
    extract_timeout_s: PositiveFloat = 5.0
    extract_memory_bytes: PositiveInt = Field(
        default=1024**3, description="What one process may take beyond what it starts with."
    )
    extract_pages_per_process: PositiveInt = 500
    user_agent: str = Field(default="GenServe/0.1 (reads pages named in a prompt)", max_length=200)


class ParserSettings(Settings):
    """Reading uploaded files."""

    tokenizer: ModelSource = Field(description="The embedder's model, whose tokens are counted.")
    chunk_tokens: Annotated[int, Field(ge=32, le=8192)] = 90
    max_pages: PositiveInt = 2000
    max_chars: PositiveInt = 5_000_000
    max_chunks: PositiveInt = 20_000
    timeout_s: PositiveFloat = Field(
        default=180.0, description="By the clock: longer than `cpu_s`, as all else goes first."
    )
    cpu_s: PositiveInt = 60
    memory_bytes: PositiveInt = 2 * 1024**3
    processes: Annotated[int, Field(ge=1, le=64)] = 1


class RetrieverSettings(Settings):
    """Where vectors are kept."""

    store: Literal["edge", "qdrant"] = "edge"
    url: str | None = Field(default=None, description="`qdrant`: the server; `:memory:` in tests.")
    path: str | None = Field(default=None, description="`edge`: the folder; default in data_dir.")
    timeout_s: PositiveFloat = 10.0
    max_collections: PositiveInt = 64
    add_batch_chunks: PositiveInt = 64
    candidates: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=32, description="Chunks of each kind, by meaning and by words, that are ranked."
    )
    diversity: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0, description="How much being unlike better passages counts against relevance."
    )
    min_relevance: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        default=None,
        description="Leave out what is less like the question: 0 is any unrelated text for this "
        "embedding model, 1 the question itself.",
    )
    rerank: Annotated[int, Field(ge=0, le=200)] = Field(
        default=0, description="Candidates given to `embedder.reranker`; 0 for none."
    )
    rerank_timeout_s: PositiveFloat = Field(
        default=3.0, description="After which passages stay in the order they were found in."
    )


class ImagesSettings(Settings):
    """The text-to-image model."""

    model: ModelSource = "package:deployments.images.scenes"
    served_name: ServedName = ""
    device: str = Field(default="cpu", description="cpu, or cuda.")
    dtype: Precision = "float32"
    threads: Annotated[int, Field(ge=1, le=256)] = 1
    guidance_scale: Annotated[float, Field(ge=0, le=30)] = 4.0
    size: Annotated[int, Field(ge=8, le=4096)] = Field(
        default=128, description="Pixels a side, when the request names none."
    )
    min_size: Annotated[int, Field(ge=8, le=4096)] = 64
    max_size: Annotated[int, Field(ge=8, le=4096)] = 256
    steps: Annotated[int, Field(ge=1, le=200)] = Field(
        default=20, description="Denoising steps, when the request names none."
    )
    max_steps: Annotated[int, Field(ge=1, le=200)] = 50
    max_prompt_chars: PositiveInt = 1000
    max_batch: Annotated[int, Field(ge=1, le=64)] = Field(
        default=4, description="Pictures of one shape made in one pass."
    )
    batch_wait_s: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.02, description="How long a pass waits for pictures to share it."
    )
    max_waiting: PositiveInt = Field(default=64, description="Pictures waiting, a replica.")

    @property
    def name(self) -> str:
        """The id clients use."""
        return self.served_name or own_name(self.model)


class JobsSettings(Settings):
    """Work in the background."""

    database_url: str | None = Field(
        default=None,
        description="PostgreSQL, without a password (that goes into the environment as "
        "GENSERVE_JOBS_DATABASE_URL); unset, a SQLite file in data_dir.",
    )
    ingest_concurrency: Annotated[int, Field(ge=1, le=64)] = Field(
        default=2, description="Documents ingested at once, a replica."
    )
    images_concurrency: Annotated[int, Field(ge=1, le=64)] = Field(
        default=2, description="Image jobs at work at once, a replica."
    )
    max_queued: PositiveInt = Field(default=500, description="Jobs waiting, of each kind.")
    max_queued_of_key: PositiveInt = Field(
        default=250, description="Jobs waiting, of each kind, of one API key."
    )
    max_images: PositiveInt = Field(default=100, description="Pictures of one job.")
    images_at_once: Annotated[int, Field(ge=1, le=64)] = Field(
        default=4, description="Pictures of one job asked for together, to share a pass."
    )
    add_batch_chunks: PositiveInt = Field(default=64, description="Chunks stored by one step.")
    attempts: Annotated[int, Field(ge=1, le=10)] = Field(
        default=3, description="Of a step, before its job has failed."
    )
    backend_wait_s: PositiveFloat = Field(
        default=600.0, description="How long a step waits for a deployment that is away."
    )
    max_watchers: PositiveInt = Field(
        default=128, description="Who follow a job at once, a replica."
    )
    keep_days: PositiveFloat = Field(default=7.0, description="Ended jobs and their pictures.")


class Secrets(BaseSettings):
    """Keys, from the environment only: `args` are shown on Ray's dashboard, these are not."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_ignore_empty=True, populate_by_name=True
    )

    api_keys: SecretStr | None = Field(
        default=None,
        validation_alias="GENSERVE_API_KEYS",
        description="Who may use the service: NAME:KEY pairs with commas between them.",
    )
    llm_api_key: SecretStr | None = Field(default=None, validation_alias="GENSERVE_LLM_API_KEY")
    qdrant_api_key: SecretStr | None = Field(default=None, validation_alias="QDRANT_API_KEY")
    jobs_database_url: SecretStr | None = Field(
        default=None, validation_alias="GENSERVE_JOBS_DATABASE_URL"
    )
    redis_url: SecretStr | None = Field(
        default=None,
        validation_alias="GENSERVE_REDIS_URL",
        description="Where all ingress replicas count together what a key has used.",
    )
