"""The settings of each deployment: one frozen pydantic model a package, unknown keys refused.

A setting exists only if an operator has a reason to change it; everything else is a constant beside
its use. They live here, not with `serve_app.settings.AppSettings`, because a deployment must not
import the application that composes it.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network  # noqa: TC003 - pydantic reads annotations
from typing import Annotated, Any, Literal

from loguru import logger
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    SecretStr,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from deployments.types import LongTexts  # noqa: TC001 - pydantic reads annotations

ModelSource = Annotated[str, Field(min_length=1, max_length=400)]
"""A Hugging Face id, which `@REVISION` may follow, a local path, or `package:NAME` for weights
inside a Python package."""

Precision = Literal["float32", "bfloat16", "float16"]
"""Of a model's weights and passes; what leaves it is float32 all the same."""


ServedName = Annotated[
    str, Field(max_length=200, description="The id clients use; by default the model's own name.")
]


def own_name(model: str) -> str:
    """Name a model by the last part of its source."""
    return re.split(r"[/:]", model.partition("@")[0].rstrip("/"))[-1]


class Settings(BaseModel):
    """A frozen section of the settings that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class LLMSettings(Settings):
    """The language model."""

    engine: Literal["vllm", "openai"] = Field(
        default="vllm",
        description="`vllm` runs the model in the replica, `openai` forwards to an endpoint.",
    )
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

    @property
    def window(self) -> int | None:
        """The tokens of prompt and answer; None if only the engine knows."""
        if self.engine == "openai":
            return self.context_tokens
        window = self.engine_args.get("max_model_len")
        return window if isinstance(window, int) and window > 0 else None


class EmbeddingSettings(Settings):
    """An embedding model."""

    model: ModelSource = Field(description="The embedding model.")
    served_name: ServedName = ""
    trust_remote_code: bool = Field(
        default=False, description="Run Python code that comes with the model."
    )
    device: str = Field(default="cpu", description="cpu, cuda, or auto.")
    dtype: Precision = Field(default="float32", description="Of weights and computation.")
    query_prefix: str = Field(
        default="", description="Put before each question, if the model was trained with one."
    )
    passage_prefix: str = Field(
        default="", description="Put before each passage, if the model was trained with one."
    )
    max_batch_tokens: PositiveInt = Field(
        default=8192, description="Tokens of one pass, padding included; bounds its memory."
    )

    @property
    def name(self) -> str:
        """The id clients use."""
        return self.served_name or own_name(self.model)


class NextEmbedderSettings(EmbeddingSettings):
    """The embedding model that is to replace the present one."""

    switch: Literal["automatic", "manual"] = Field(
        default="automatic",
        description="Search with it once all documents are embedded by it, or when `genserve "
        "reindex FILE switch` says so.",
    )

    @property
    def embedder(self) -> EmbedderSettings:
        """The settings of its deployment."""
        return EmbedderSettings.model_validate(self.model_dump(exclude={"switch"}))


class EmbedderSettings(EmbeddingSettings):
    """The embedding model, and the reranker beside it."""

    reranker: ModelSource | None = Field(
        default=None,
        description="A cross-encoder that scores question and passage together, on the same "
        "device; one that brings no code of its own.",
    )
    long_texts: LongTexts = Field(
        default="windows",
        description="Texts at `/v1/embeddings` that are longer than the model reads at once: "
        "`windows` embeds them in parts whose mean is the vector, as documents are; `truncate` "
        "embeds their beginnings; `refuse` answers 400, as OpenAI does.",
    )
    next: NextEmbedderSettings | None = Field(
        default=None,
        description="The next embedding model, loaded by the deployment NextEmbedder: all "
        "documents are embedded by it while questions are answered with the present one.",
    )

    @property
    def reranking_name(self) -> str:
        """The id clients use for reranking: the cross-encoder, or else the embedding model."""
        return own_name(self.reranker) if self.reranker else self.name


class ScraperSettings(Settings):
    """Reading pages named in a prompt."""

    max_pages: Annotated[int, Field(ge=1, le=100)] = Field(
        default=8, description="Pages read for one prompt; further URLs are reported as blocked."
    )
    page_timeout_s: PositiveFloat = Field(
        default=8.0, description="For one page, redirects and extraction included."
    )
    max_pdf_bytes: PositiveInt = Field(default=10_000_000, description="Of a PDF named by a URL.")
    allowed_ports: tuple[Annotated[int, Field(ge=1, le=65535)], ...] = Field(
        default=(80, 443), description="Ports that a URL may name."
    )
    allowed_networks: tuple[IPv4Network | IPv6Network, ...] = Field(
        default=(), description="Private networks opened by the operator; none by default."
    )
    respect_robots: bool = Field(default=True, description="Obey a site's robots.txt.")
    user_agent: str = Field(
        default="GenServe (reads pages named in a prompt)",
        max_length=200,
        description="The `User-Agent` header, also the name looked up in robots.txt.",
    )


class RendererSettings(Settings):
    """Reading pages that are empty without their scripts, with a browser."""

    chromium: str = Field(
        default="chromium",
        min_length=1,
        max_length=400,
        description="The browser: a path, or a name on PATH.",
    )
    max_pages: Annotated[int, Field(ge=1, le=16)] = Field(
        default=2, description="Pages loaded at once, in a replica."
    )
    page_timeout_s: PositiveFloat = Field(
        default=5.0, description="Seconds for one page, including its time in the queue."
    )
    memory_bytes: Annotated[int, Field(ge=512 * 1024**2)] = Field(
        default=1024**3,
        description="Memory limit of each browser process and of all together; a browser over it "
        "is killed and replaced.",
    )


class ParserSettings(Settings):
    """Reading uploaded files."""

    chunk_tokens: Annotated[int, Field(ge=32, le=8192)] = Field(
        default=90, description="The most tokens in a chunk, counted by the embedder's tokenizer."
    )
    max_pages: PositiveInt = Field(
        default=2000, description="Of a document; without pages, 2,500 characters count as one."
    )
    timeout_s: PositiveFloat = Field(
        default=180.0,
        description="Of a document, waiting for a core included; a third is CPU time.",
    )
    memory_bytes: PositiveInt = Field(
        default=2 * 1024**3, description="Of the process that reads a document."
    )

    ocr: bool = Field(
        default=True,
        description="Read scanned pages and images by OCR, in a process of up to 1 GB per Parser "
        "replica.",
    )
    max_ocr_pages: PositiveInt = Field(
        default=200,
        description="The most pages of a document, or pictures in it, read by OCR; each takes "
        "about five CPU seconds.",
    )

    @property
    def max_chars(self) -> int:
        """The most characters in a document."""
        return self.max_pages * 2500

    @property
    def max_chunks(self) -> int:
        """The most chunks in a document."""
        return self.max_pages * 10

    @property
    def cpu_s(self) -> int:
        """The most processor time for a document: reading has the lowest priority."""
        return max(1, int(self.timeout_s / 3))


class RetrieverSettings(Settings):
    """Where vectors are kept, and how they are searched."""

    store: Literal["edge", "qdrant"] = Field(
        default="edge", description="`edge` is embedded, in the folder `vectors` of data_dir."
    )
    url: str | None = Field(default=None, description="`qdrant`: the server; `:memory:` in tests.")
    candidates: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=32, description="Chunks of each kind, by meaning and by words, that are ranked."
    )
    diversity: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0, description="How much being unlike better passages counts against relevance."
    )
    min_relevance: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        default=0.13,
        description="A question gets no sources if no chunk has this rating: 0 is unrelated text "
        "for the embedding model, 1 the question itself; common words count, too. null: no limit.",
    )
    rerank: Annotated[int, Field(ge=0, le=200)] = Field(
        default=0, description="Candidates given to `embedder.reranker`; 0 for none."
    )


class ImagesSettings(Settings):
    """The text-to-image model."""

    model: ModelSource = Field(
        default="package:deployments.images.scenes",
        description="A diffusers pipeline; by default the small model of this repository.",
    )
    served_name: ServedName = ""
    device: str = Field(default="cpu", description="cpu, or cuda.")
    dtype: Precision = Field(default="float32", description="Of weights and computation.")
    guidance_scale: Annotated[float, Field(ge=0, le=30)] = Field(
        default=4.0,
        description="Classifier-free guidance: higher follows the prompt more closely; 0 for "
        "models distilled to need none.",
    )
    size: Annotated[int, Field(ge=8, le=4096)] = Field(
        default=128, description="Pixels a side, when the request names none; the least is half."
    )
    max_size: Annotated[int, Field(ge=8, le=4096)] = Field(
        default=256, description="The most pixels a side that a request may ask for."
    )
    steps: Annotated[int, Field(ge=1, le=200)] = Field(
        default=20, description="Denoising steps, when the request names none."
    )
    max_steps: Annotated[int, Field(ge=1, le=200)] = Field(
        default=50, description="The most denoising steps that a request may ask for."
    )
    max_batch: Annotated[int, Field(ge=1, le=64)] = Field(
        default=4, description="Pictures of one shape made in one pass."
    )

    @property
    def name(self) -> str:
        """The id clients use."""
        return self.served_name or own_name(self.model)

    @property
    def min_size(self) -> int:
        """The fewest pixels a side: far below their training size, models draw noise."""
        return self.size // 2


class JobsSettings(Settings):
    """Work in the background."""

    ingest_concurrency: Annotated[int, Field(ge=1, le=64)] = Field(
        default=2, description="Long documents ingested at once, a replica."
    )
    images_concurrency: Annotated[int, Field(ge=1, le=64)] = Field(
        default=2, description="Long image jobs at work at once, a replica."
    )
    max_queued: PositiveInt = Field(
        default=3000, description="Jobs waiting, of each kind; half of them may be of one API key."
    )
    max_images: PositiveInt = Field(default=100, description="Pictures of one job.")
    keep_days: PositiveFloat = Field(default=7.0, description="Ended jobs and their pictures.")
    doctor_every_hours: NonNegativeFloat = Field(
        default=24.0,
        description="How often what is stored is checked for damage, without mending; 0: never.",
    )


DATABASE_VARIABLE_OF_0_1 = "GENSERVE_JOBS_DATABASE_URL"


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
    llm_api_key: SecretStr | None = Field(
        default=None,
        validation_alias="GENSERVE_LLM_API_KEY",
        description="The endpoint's key when `llm.engine` is `openai`.",
    )
    qdrant_api_key: SecretStr | None = Field(
        default=None, validation_alias="QDRANT_API_KEY", description="The Qdrant server's key."
    )
    database_url: SecretStr | None = Field(
        default=None,
        validation_alias="GENSERVE_DATABASE_URL",
        description="PostgreSQL of the catalogue and the jobs, with its password; replaces the "
        "setting `database_url`. Ingress, Retriever and Jobs use it.",
    )
    jobs_database_url: SecretStr | None = Field(
        default=None,
        validation_alias=DATABASE_VARIABLE_OF_0_1,
        description="The name of GENSERVE_DATABASE_URL in version 0.1.",
    )
    redis_url: SecretStr | None = Field(
        default=None,
        validation_alias="GENSERVE_REDIS_URL",
        description="Where all ingress replicas count together what a key has used.",
    )


def database_url(setting: str, secrets: Secrets) -> str:
    """Return the URL of the database: the environment overrides the setting."""
    secret = secrets.database_url
    if secret is None and (secret := secrets.jobs_database_url) is not None:
        logger.warning("rename {} to GENSERVE_DATABASE_URL", DATABASE_VARIABLE_OF_0_1)
    return setting if secret is None else secret.get_secret_value()
