"""The evaluation articles as PDFs, with the page on which each paragraph stands."""

from __future__ import annotations

import io
import json
import os
import random
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.paths import ROOT

DATA = Path(
    os.environ.get(
        "GENSERVE_EVAL_DATA",
        ROOT.parent / "shared" / "data" / "xquad-en-dev.json",
    )
)
PARAGRAPHS_A_PAGE = 2


@dataclass(frozen=True)
class Article:
    filename: str
    paragraphs: list[str]

    def document(self) -> io.BytesIO:
        return io.BytesIO(self.pdf())

    def pdf(self) -> bytes:
        from xml.sax.saxutils import escape

        from reportlab.lib.styles import getSampleStyleSheet
        from reportlab.platypus import PageBreak, Paragraph, SimpleDocTemplate, Spacer

        style = getSampleStyleSheet()["BodyText"]
        flow = []
        for number, text in enumerate(self.paragraphs):
            if number and number % PARAGRAPHS_A_PAGE == 0:
                flow.append(PageBreak())
            flow += [Paragraph(escape(text), style), Spacer(1, 12)]
        out = io.BytesIO()
        SimpleDocTemplate(out, title=self.filename.removesuffix(".pdf")).build(flow)
        return out.getvalue()


@dataclass(frozen=True)
class QuestionAsked:
    text: str
    answers: tuple[str, ...]
    filename: str
    page: int


def load() -> tuple[list[Article], list[QuestionAsked]]:
    if not DATA.is_file():
        pytest.skip(f"the evaluation data is not at {DATA.name}; set GENSERVE_EVAL_DATA")
    articles, questions = [], []
    for entry in json.loads(DATA.read_text(encoding="utf-8"))["data"]:
        filename = entry["title"].replace("_", " ").replace("/", "-") + ".pdf"
        paragraphs = [paragraph["context"] for paragraph in entry["paragraphs"]]
        articles.append(Article(filename, paragraphs))
        questions += [
            QuestionAsked(
                qa["question"],
                tuple({answer["text"] for answer in qa["answers"]}),
                filename,
                index // PARAGRAPHS_A_PAGE + 1,
            )
            for index, paragraph in enumerate(entry["paragraphs"])
            for qa in paragraph["qas"]
        ]
    return articles, questions


def sample(questions: list[QuestionAsked], count: int) -> list[QuestionAsked]:
    return random.Random(7).sample(questions, count)  # noqa: S311
