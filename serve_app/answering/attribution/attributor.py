"""Attribution of one answer, by a task beside its stream."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

from loguru import logger

from deployments.answer_events import Piece
from deployments.errors import ServiceError
from deployments.observability.metrics import ATTRIBUTED
from serve_app.answering.attribution.answer_sentences import AnswerSentence, AnswerSentences
from serve_app.answering.attribution.support import Judgement, SourceSentences, best
from serve_app.answering.citations import Citations
from serve_app.schemas.answers import Attribution, Quote, Warning_

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deployments.answer_events import AnswerEvent
    from serve_app.answering.attribution.meanings import Meanings
    from serve_app.answering.attribution.support import Support
    from serve_app.schemas.answers import Source

MAX_SENTENCES: Final = 1000
"""Of one answer; those behind them are not attributed."""
_EMBEDDER_TIMEOUT_S: Final = 5.0


class _Claim(NamedTuple):
    sentence: AnswerSentence
    text: str  # without citations
    cited: list[int]
    judgement: Judgement


class Attributor:
    """Takes the events of an answer and finds the source of each sentence that ends.

    Neither `feed` nor `ready` waits. Without sources nothing is attributed.
    """

    def __init__(self, sources: Sequence[Source], meanings: Meanings) -> None:
        self._sources = {source.id: source.text for source in sources}
        self._meanings = meanings
        self._index: SourceSentences | None = None
        self._of_choice: dict[int, AnswerSentences] = {}
        self._waiting: list[AnswerSentence] = []
        self._taken = 0
        self._ready: list[Attribution] = []
        self._task: asyncio.Task[None] | None = None
        self._embedder_failed = False
        self._unchecked = 0

    def feed(self, events: Sequence[AnswerEvent]) -> None:
        """Take the events of an answer as they are shown."""
        if not self._sources:
            return
        for event in events:
            if isinstance(event, Piece) and event.choice_index is not None:
                self.feed_text(event.text or "", event.choice_index)

    def feed_text(self, text: str, choice: int = 0) -> None:
        """Take some text of a choice."""
        if self._sources and text:
            if choice not in self._of_choice:
                self._of_choice[choice] = AnswerSentences(choice)
            self._add(self._of_choice[choice].feed(text))

    def ready(self) -> list[Attribution]:
        """Return what was found since the last call."""
        ready, self._ready = self._ready, []
        return ready

    async def rest(self, timeout_s: float) -> list[Attribution]:
        """Return what is found until the time is over, once the answer has ended."""
        for of_choice in self._of_choice.values():
            self._add(of_choice.close())
        if self._task is not None and not self._task.done():
            await asyncio.wait({self._task}, timeout=max(timeout_s, 0))
            if not self._task.done():
                self._unchecked += len(self._waiting)
                self._waiting = []
                self.close()
        return self.ready()

    @property
    def warnings(self) -> list[Warning_]:
        """Say how many sentences were not compared with the sources, if any."""
        if not self._unchecked:
            return []
        message = (
            f"{self._unchecked} of the answer's sentences were not compared with the sources: "
            "the embedder did not answer in time"
        )
        return [Warning_(code="sources_not_checked", message=message)]

    def close(self) -> None:
        """Stop what is under way."""
        if self._task is not None:
            self._task.cancel()

    def _add(self, sentences: Sequence[AnswerSentence]) -> None:
        some = sentences[: MAX_SENTENCES - self._taken]
        self._taken += len(some)
        self._waiting += some
        if self._waiting and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._work())

    async def _work(self) -> None:
        while self._waiting:
            taken, self._waiting = self._waiting, []
            open_ = len(taken)
            try:
                # A thread: sources of a large window have thousands of sentences.
                claims = await asyncio.to_thread(self._by_words, taken)
                for claim in claims:
                    if not claim.judgement.candidates:
                        self._found(claim, claim.judgement.support)
                        open_ -= 1
                undecided = [claim for claim in claims if claim.judgement.candidates]
                if undecided and not self._embedder_failed:
                    await self._by_meaning(undecided)
                    open_ = 0
            except (ServiceError, TimeoutError):
                self._embedder_failed = True
            except Exception as error:  # noqa: BLE001 - the answer goes on without
                logger.opt(exception=error).error("sentences were not attributed")
            finally:
                self._unchecked += open_

    def _by_words(self, taken: Sequence[AnswerSentence]) -> list[_Claim]:
        if self._index is None:
            self._index = SourceSentences(self._sources)
        claims = []
        for sentence in taken:
            citations = Citations(max(self._sources))
            citations.feed(sentence.text)
            citations.close()
            uncited = Citations(0)
            text = uncited.feed(sentence.text) + uncited.close()
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
