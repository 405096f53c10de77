"""Every metric of our own, declared once; configs/monitoring/README.md lists the same.

A replica calls `export_metrics` as it starts, and its deployment's metrics reach Prometheus by
Ray, as `ray_NAME` with the labels `deployment`, `replica` and `application`. Where nobody called
it, as in a unit test, recording does nothing; Ray is not imported before.

Labels have few values, all of them named here: never a person, an address or an id.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar

from deployments.types import DamageKind, JobKind, JobStatus, PageOutcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DECLARED: list[Metric] = []
"""All of them, in the order of this file."""

_UP_TO_MINUTES = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0, 300.0)


class Metric:
    """A name, its meaning, the deployment that records it, and the values of each label."""

    kind: ClassVar[str]

    def __init__(self, name: str, meaning: str, *, at: str, **labels: tuple[str, ...]) -> None:
        self.name = name
        self.meaning = meaning
        self.at = at
        self.labels: Mapping[str, tuple[str, ...]] = labels
        self._exported: Any = None
        DECLARED.append(self)

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        # Serve sends a deployment's class along with what its module holds: that must not become
        # a second metric of this name, which nobody exports.
        return _declared, (self.name,)

    @property
    def exported_name(self) -> str:
        """What it is called in Prometheus; a histogram has its usual suffixes beside it."""
        return f"ray_{self.name}"

    def export(self) -> None:
        """Have Ray export it from this replica."""
        raise NotImplementedError

    def _tag_keys(self) -> Any:  # noqa: ANN401 - Ray's types would have a tuple of one
        return tuple(self.labels)

    def _series(self) -> Iterator[dict[str, str]]:
        for values in product(*self.labels.values()):
            yield dict(zip(self.labels, values, strict=True))


def _declared(name: str) -> Metric:
    return next(metric for metric in DECLARED if metric.name == name)


class Counter(Metric):
    """Only grows, from zero at the start of its replica."""

    kind = "counter"

    def export(self) -> None:
        from ray.serve.metrics import Counter as Exported

        self._exported = Exported(self.name, self.meaning, self._tag_keys())
        for series in self._series():
            # Not `inc`, which takes no zero: yet without one Prometheus misses the first rise.
            self._exported._record(0, series)  # noqa: SLF001

    def add(self, amount: float = 1, **labels: str) -> None:
        """Count what happened."""
        if self._exported is not None and amount > 0:
            self._exported.inc(amount, labels)


class Gauge(Metric):
    """As it is now; Ray forgets one that is not set for twenty seconds."""

    kind = "gauge"

    def export(self) -> None:
        from ray.serve.metrics import Gauge as Exported

        self._exported = Exported(self.name, self.meaning, self._tag_keys())

    def set(self, value: float, **labels: str) -> None:
        """Say how it is."""
        if self._exported is not None:
            self._exported.set(value, labels)


class Histogram(Metric):
    """How seconds are distributed; Ray takes sums from the middles of buckets, so use quantiles."""

    kind = "histogram"

    def export(self) -> None:
        from ray.serve.metrics import Histogram as Exported

        buckets = list(_UP_TO_MINUTES)
        self._exported = Exported(self.name, self.meaning, buckets, self._tag_keys())

    def observe(self, seconds: float, **labels: str) -> None:
        """Note one more."""
        if self._exported is not None:
            self._exported.observe(seconds, labels)


def export_metrics() -> None:
    """Export those of the deployment whose replica this is; once, in its constructor."""
    from ray import serve

    deployment = serve.get_replica_context().deployment
    for metric in DECLARED:
        if metric.at == deployment:
            metric.export()


ANSWERS = Counter(
    "genserve_answers_total",
    "answers, by how they ended; `left`: the client went away",
    at="Ingress",
    model=("genserve", "bare"),
    outcome=("completed", "left", "refused", "overloaded", "timeout", "failed"),
)
FIRST_TOKEN = Histogram(
    "genserve_first_token_seconds",
    "from the request to the first token of a streamed answer",
    at="Ingress",
    model=("genserve", "bare"),
)
STAGES = Histogram(
    "genserve_answer_stage_seconds",
    "how long each stage of a `genserve` answer took; `generation` begins with the prompt ready",
    at="Ingress",
    stage=("pages", "search", "prompt", "first_token", "generation", "total"),
)
WARNINGS = Counter(
    "genserve_answer_warnings_total",
    "what answers had to do without, by the `code` that the caller was told",
    at="Ingress",
    code=(
        *(f"page_{outcome}" for outcome in PageOutcome if outcome is not PageOutcome.OK),
        "page_unavailable",
        "pages_cut",
        "search_unavailable",
        "rewrite_skipped",
        "phrasings_skipped",
        "sources_shortened",
        "history_shortened",
        "answer_limited",
        "sources_not_checked",
    ),
)
ATTRIBUTED = Counter(
    "genserve_attributed_sentences_total",
    "sentences of answers that were compared with the sources, by whether one supports them",
    at="Ingress",
    result=("supported", "unsupported"),
)
SHED = Counter(
    "genserve_shed_total",
    "requests answered 429, by the deployment whose bound was reached",
    at="Ingress",
    where=(
        *("Ingress", "LLM", "Embedder", "Scraper", "Parser", "Retriever", "Images", "Jobs"),
        "NextEmbedder",
    ),
)
RATE_LIMITED = Counter(
    "genserve_rate_limited_total",
    "requests answered 429 because an API key had used what it may in a minute",
    at="Ingress",
    limit=("requests", "tokens"),
)
TOKENS = Counter(
    "genserve_tokens_total",
    "tokens read and written by the language model",
    at="LLM",
    kind=("prompt", "completion"),
)
ENGINE_REQUESTS = Gauge(
    "genserve_engine_requests",
    "requests in vLLM: being computed, and waiting for it; none where the engine is elsewhere",
    at="LLM",
    state=("running", "waiting"),
)
PAGES = Counter(
    "genserve_pages_total",
    "web pages named in prompts, by how reading them ended",
    at="Scraper",
    outcome=tuple(PageOutcome),
)
CHUNKS = Counter("genserve_chunks_stored_total", "chunks embedded and stored", at="Retriever")
DOCUMENTS = Counter(
    "genserve_documents_total",
    "documents made searchable, and removed",
    at="Retriever",
    event=("published", "deleted"),
)
PICTURES = Counter("genserve_pictures_total", "pictures made", at="Images")
JOBS = Gauge(
    "genserve_jobs",
    "jobs waiting and at work, as the database has it: each replica of Jobs says the same",
    at="Jobs",
    kind=tuple(JobKind),
    state=(JobStatus.QUEUED, JobStatus.RUNNING),
)
OLDEST_JOB = Gauge(
    "genserve_oldest_queued_job_seconds",
    "how long the job that has waited longest has waited; 0 if none waits",
    at="Jobs",
    kind=tuple(JobKind),
)
JOBS_ENDED = Counter(
    "genserve_jobs_ended_total",
    "jobs that ended, by how",
    at="Jobs",
    kind=tuple(JobKind),
    state=(JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED),
)
REINDEX_DOCUMENTS = Gauge(
    "genserve_reindex_documents",
    "documents that a change of the embedding model concerns: those done, and all; else 0",
    at="Jobs",
    state=("done", "all"),
)
REINDEX_CHUNKS = Gauge(
    "genserve_reindex_chunks",
    "chunks that a change of the embedding model concerns: those done, and all; else 0",
    at="Jobs",
    state=("done", "all"),
)
REINDEX_LEFT = Gauge(
    "genserve_reindex_seconds_left",
    "estimate of the time until a change of the embedding model is done; else 0",
    at="Jobs",
)
RECHUNK_DOCUMENTS = Gauge(
    "genserve_rechunk_documents",
    "documents that a change of the chunker concerns: those done, and all; else 0",
    at="Jobs",
    state=("done", "all"),
)
RECHUNK_LEFT = Gauge(
    "genserve_rechunk_seconds_left",
    "estimate of the time until a change of the chunker is done; else 0",
    at="Jobs",
)
DAMAGE = Gauge(
    "genserve_doctor_findings",
    "what the last run of the doctor found and did not mend: each replica of Jobs says the same",
    at="Jobs",
    kind=tuple(DamageKind),
)
DOCTOR_RAN = Gauge(
    "genserve_doctor_last_run_timestamp_seconds",
    "when the last run of the doctor began, in seconds since the epoch; 0 if there was none",
    at="Jobs",
)
DOCTOR_TOOK = Gauge(
    "genserve_doctor_run_seconds", "how long the last run of the doctor took", at="Jobs"
)
