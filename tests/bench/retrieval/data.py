"""A data set for the evaluation: documents, and questions with their answers.

It is one file in the form of SQuAD, which makes one document of each article, or a folder
of documents with `questions.jsonl`, a line of which is `{"question": ..., "answers": [...],
"document": "file name"}`.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tests.bench.retrieval.metrics import Question

Format = Literal["text", "pdf"]
_QUESTIONS = "questions.jsonl"
_BETWEEN_PARAGRAPHS = "\n\n"


class DataError(Exception):
    """The data set is missing or cannot be read; the message says what is wrong."""


@dataclass(frozen=True)
class File:
    """A document as it is uploaded."""

    name: str
    data: bytes

    @classmethod
    def of_text(cls, name: str, paragraphs: Sequence[str]) -> File:
        """A plain text file."""
        return cls(name, _BETWEEN_PARAGRAPHS.join(paragraphs).encode())

    def text(self) -> str:
        """Its text as simple programs get it: no layout is looked at."""
        if not self.data.startswith(b"%PDF-"):
            return self.data.decode("utf-8")
        from pypdf import PdfReader

        return "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(self.data)).pages)


@dataclass(frozen=True)
class DataSet:
    """Every question names one of the files."""

    name: str
    files: tuple[File, ...]
    questions: tuple[Question, ...]


def load(path: Path, format_: Format = "text") -> DataSet:
    """Read a data set; `format_` is what articles of a SQuAD file are made into.

    Raises DataError.
    """
    try:
        data_set = _folder(path) if path.is_dir() else _squad(path, format_)
    except (OSError, ValueError, LookupError, TypeError) as error:
        # Without the path: it is of this machine.
        msg = (
            f"{path.name} cannot be read as a data set ({type(error).__name__}): name one with "
            "--data, or in GENSERVE_EVAL_DATA"
        )
        raise DataError(msg) from error
    names = {file.name for file in data_set.files}
    if len(names) < len(data_set.files):
        msg = f"{path.name} has two documents of the same name"
        raise DataError(msg)
    if not data_set.questions:
        msg = f"{path.name} has no questions"
        raise DataError(msg)
    for question in data_set.questions:
        if question.document not in names or not question.answers:
            msg = f"{question.text!r} needs an answer and a document of the data set"
            raise DataError(msg)
    return data_set


def _squad(path: Path, format_: Format) -> DataSet:
    files, questions = [], []
    for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
        title = article["title"].replace("_", " ").replace("/", "-")
        paragraphs = [paragraph["context"] for paragraph in article["paragraphs"]]
        file = _pdf(title, paragraphs) if format_ == "pdf" else _text(title, paragraphs)
        files.append(file)
        for paragraph in article["paragraphs"]:
            for asked in paragraph["qas"]:
                if answers := _once(answer["text"] for answer in asked["answers"]):
                    questions.append(Question(asked["question"], answers, file.name))
    return DataSet(path.stem, tuple(files), tuple(questions))


def _text(title: str, paragraphs: Sequence[str]) -> File:
    return File.of_text(f"{title}.txt", paragraphs)


def _pdf(title: str, paragraphs: Sequence[str]) -> File:
    from tests.support.articles import Article

    article = Article(f"{title}.pdf", list(paragraphs))
    return File(article.filename, article.pdf())


def _folder(path: Path) -> DataSet:
    lines = (path / _QUESTIONS).read_text(encoding="utf-8").splitlines()
    questions = tuple(
        Question(asked["question"], _once(asked["answers"]), asked["document"])
        for asked in map(json.loads, filter(str.strip, lines))
    )
    files = tuple(
        File(file.name, file.read_bytes())
        for file in sorted(path.iterdir())
        if file.is_file() and file.name != _QUESTIONS and not file.name.startswith(".")
    )
    return DataSet(path.name, files, questions)


def _once(answers: Any) -> tuple[str, ...]:
    """Each answer once, in order."""
    return tuple(dict.fromkeys(answers))
