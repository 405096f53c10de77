"""The evaluation data as files to upload, with the page on which each answer stands if known."""

from __future__ import annotations

import io
import json
import os
import random
from dataclasses import dataclass
from pathlib import Path

import pytest

from serve_app.evaluation import data_sets
from serve_app.evaluation.data_sets import File
from tests.support.paths import ROOT

DATA = Path(
    os.environ.get("GENSERVE_EVAL_DATA", ROOT.parent / "shared" / "data" / "xquad-en-dev.json")
)
"""Not part of the repository: tests/README.md says where it comes from."""
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
    page: int | None
    """None for a folder of documents, whose questions name no page."""


def load() -> tuple[list[File], list[QuestionAsked]]:
    """Read the data set, each article of a SQuAD file as a PDF; skip the test if it is missing."""
    if not DATA.exists():
        pytest.skip(f"the data set {DATA.name} is missing: name one in GENSERVE_EVAL_DATA")
    if DATA.is_dir():
        data = data_sets.load(DATA)
        return list(data.files), [
            QuestionAsked(asked.text, asked.answers, asked.document or "", None)
            for asked in data.questions
        ]
    files, questions = [], []
    for entry in json.loads(DATA.read_text(encoding="utf-8"))["data"]:
        filename = entry["title"].replace("_", " ").replace("/", "-") + ".pdf"
        paragraphs = [paragraph["context"] for paragraph in entry["paragraphs"]]
        files.append(File(filename, Article(filename, paragraphs).pdf()))
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
    return files, questions


def text_of(file: File) -> str:
    """Extract the text as simple programs do, without regard to the layout."""
    if not file.data.startswith(b"%PDF-"):
        return file.data.decode("utf-8")
    from pypdf import PdfReader

    return "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(file.data)).pages)


def sample(questions: list[QuestionAsked], count: int) -> list[QuestionAsked]:
    """Draw at most `count` questions, the same ones each time."""
    return random.Random(7).sample(questions, min(count, len(questions)))  # noqa: S311
