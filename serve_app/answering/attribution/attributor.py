"""Attribute the sentences of one answer in background tasks, while it streams."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, NamedTuple

from loguru import logger

from deployments.answer_events import Piece
from deployments.errors import ServiceError
from deployments.observability.metrics import ATTRIBUTED
from serve_app.answering.attribution.answer_sentences import (
    AnswerSentence,
    AnswerSentences,
    without_source_mentions,
)
from serve_app.answering.attribution.support import Judgement, SourceSentences, best
from serve_app.answering.citations import Citations
from serve_app.schemas.answers import Attribution, Quote, Warning_

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from deployments.answer_events import AnswerEvent
    from serve_app.answering.attribution.meanings import Meanings
    from serve_app.answering.attribution.support import Support
    from serve_app.schemas.answers import Source

MAX_SENTENCES: Final = 1000
"""The most sentences of one answer that are attributed."""
_EMBEDDER_TIMEOUT_S: Final = 5.0


class _Claim(NamedTuple):
    sentence: AnswerSentence
    text: str  # without citations
    cited: list[int]
    judgement: Judgement


class Attributor:
    """Takes the events of an answer and finds the source of each complete sentence.

    `feed` and `ready` do not wait. Without sources, nothing is attributed.
    """

    def __init__(self, sources: Sequence[Source], meanings: Meanings) -> None:
        self._sources = {source.id: source.text for source in sources}
        self._meanings = meanings
        self._index: SourceSentences | None = None
        self._of_choice: dict[int, AnswerSentences] = {}
        self._waiting: list[AnswerSentence] = []
        self._taken = 0
        self._ready: list[Attribution] = []
        self._checked = 0
        self._undecided: list[_Claim] = []
        self._judging: asyncio.Task[None] | None = None
        self._comparing: asyncio.Task[None] | None = None
        self._embedder_failed = False

    def feed(self, events: Sequence[AnswerEvent]) -> None:
        """Take the events of an answer as they are sent to the client."""
        if not self._sources:
            return
        for event in events:
            if isinstance(event, Piece) and event.choice_index is not None:
                self.feed_text(event.text or "", event.choice_index)

    def feed_text(self, text: str, choice: int = 0) -> None:
        """Take more text of a choice."""
        if self._sources and text:
            if choice not in self._of_choice:
                self._of_choice[choice] = AnswerSentences(choice)
            self._add(self._of_choice[choice].feed(text))

    def ready(self) -> list[Attribution]:
        """Return the attributions that were made since the last call."""
        ready, self._ready = self._ready, []
        return ready

    async def rest(self, timeout_s: float) -> list[Attribution]:
        """Return the other attributions of an ended answer; wait at most `timeout_s`."""
        for of_choice in self._of_choice.values():
            self._add(of_choice.close())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(timeout_s, 0)):
                while running := self._running():
                    await asyncio.wait(running)
        if running := self._running():
            self.close()
            await asyncio.wait(running)
        return self.ready()

    @property
    def warnings(self) -> list[Warning_]:
        """A warning if sentences were not compared with the sources; call `rest` before."""
        unchecked = self._taken - self._checked
        if not unchecked:
            return []
        message = (
            f"{unchecked} of the answer's sentences were not compared with the sources: "
            "the embedder did not answer in time"
        )
        return [Warning_(code="sources_not_checked", message=message)]

    def close(self) -> None:
        """Cancel the running tasks."""
        for task in self._running():
            task.cancel()

    def _running(self) -> set[asyncio.Task[None]]:
        return {task for task in (self._judging, self._comparing) if task and not task.done()}

    def _add(self, sentences: Sequence[AnswerSentence]) -> None:
        taken = sentences[: MAX_SENTENCES - self._taken]
        self._taken += len(taken)
        self._waiting += taken
        if self._waiting and (self._judging is None or self._judging.done()):
            self._judging = asyncio.create_task(self._judge())

    async def _judge(self) -> None:
        """Judge by words, batch by batch; leave undecided sentences to `_compare`."""
        while self._waiting:
            taken, self._waiting = self._waiting, []
            with self._errors_suppressed():
                # A thread: sources of a large window have many sentences.
                for claim in await asyncio.to_thread(self._by_words, taken):
                    if claim.judgement.candidates:
                        self._undecided.append(claim)
                    else:
                        self._found(claim, claim.judgement.support)
            if self._undecided and (self._comparing is None or self._comparing.done()):
                self._comparing = asyncio.create_task(self._compare())

    async def _compare(self) -> None:
        """Compare by meaning; sentences that arrive during a call form the next batch."""
        while self._undecided:
            claims, self._undecided = self._undecided, []
            with self._errors_suppressed():
                if not self._embedder_failed:
                    await self._by_meaning(claims)

    @contextlib.contextmanager
    def _errors_suppressed(self) -> Iterator[None]:
        """Suppress errors: the sentences stay unchecked, and the answer is not affected."""
        try:
            yield
        except (ServiceError, TimeoutError):
            self._embedder_failed = True
        except Exception as error:  # noqa: BLE001 - of any kind
            logger.opt(exception=error).error("sentences were not attributed")

    def _by_words(self, taken: Sequence[AnswerSentence]) -> list[_Claim]:
        if self._index is None:
            self._index = SourceSentences(self._sources)
        claims = []
        for sentence in taken:
            citations = Citations(max(self._sources))
            citations.feed(sentence.text)
            citations.close()
            uncited = Citations(0)
            text = without_source_mentions(uncited.feed(sentence.text) + uncited.close())
            judgement = self._index.judge(text, citations.cited)
            claims.append(_Claim(sentence, text, citations.cited, judgement))
        return claims

    async def _by_meaning(self, claims: Sequence[_Claim]) -> None:
        async with asyncio.timeout(_EMBEDDER_TIMEOUT_S):
            supports = await self._meanings.supports(
                [(claim.text, claim.judgement.candidates) for claim in claims]
            )
        for claim, found in zip(claims, supports, strict=True):
            self._found(claim, best(found, claim.cited) if found else None)

    def _found(self, claim: _Claim, support: Support | None) -> None:
        self._checked += 1
        choice, start, end, _ = claim.sentence
        ATTRIBUTED.add(result="supported" if support else "unsupported")
        made = Attribution(choice=choice, start=start, end=end, cited=claim.cited)
        if support is not None:
            quote = self._sources[support.source][support.start : support.end]
            made.source = support.source
            made.strength = support.strength
            made.quote = Quote(text=quote, start=support.start, end=support.end)
            made.corrected = bool(claim.cited) and support.source not in claim.cited
        self._ready.append(made)
