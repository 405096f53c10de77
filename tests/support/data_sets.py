"""Data sets for the evaluation: documents, and questions with their answers.

A data set is one file in the form of SQuAD, each article of which becomes a document, or a folder
of documents with `questions.jsonl`, each line of which is
`{"question": ..., "answers": [...], "document": "file name"}`.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

PARAGRAPHS = "\n\n"  # between paragraphs of a plain text
_QUESTIONS = "questions.jsonl"


class DataError(Exception):
    """The data set is missing or cannot be read; the message says why."""


@dataclass(frozen=True)
class Question:
    """A question, the spans that answer it, and the file name of the one right document."""

    text: str
    answers: tuple[str, ...]
    document: str


@dataclass(frozen=True)
class File:
    """A document to be uploaded."""

    name: str
    data: bytes

    @classmethod
    def of_text(cls, name: str, paragraphs: Sequence[str]) -> File:
        """Make a plain text file."""
        return cls(name, PARAGRAPHS.join(paragraphs).encode())

    def text(self) -> str:
        """Extract the text as simple programs do, without regard to the layout."""
        if not self.data.startswith(b"%PDF-"):
            return self.data.decode("utf-8")
        from pypdf import PdfReader

        return "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(self.data)).pages)


@dataclass(frozen=True)
class DataSet:
    """Documents and questions; every question names one of the files."""

    name: str
    files: tuple[File, ...]
    questions: tuple[Question, ...]


def load(path: Path) -> DataSet:
    """Read a data set; raises DataError."""
    try:
        data_set = _folder(path) if path.is_dir() else _squad(path)
    except (OSError, ValueError, LookupError, TypeError) as error:
        # Without the path, which belongs to this machine.
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


def _squad(path: Path) -> DataSet:
    files, questions = [], []
    for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
        name = article["title"].replace("_", " ").replace("/", "-") + ".txt"
        files.append(File.of_text(name, [one["context"] for one in article["paragraphs"]]))
        for paragraph in article["paragraphs"]:
            for asked in paragraph["qas"]:
                if answers := _unique(answer["text"] for answer in asked["answers"]):
                    questions.append(Question(asked["question"], answers, name))
    return DataSet(path.stem, tuple(files), tuple(questions))


def _folder(path: Path) -> DataSet:
    lines = (path / _QUESTIONS).read_text(encoding="utf-8").splitlines()
    questions = tuple(
        Question(asked["question"], _unique(asked["answers"]), asked["document"])
        for asked in map(json.loads, filter(str.strip, lines))
    )
    files = tuple(
        File(file.name, file.read_bytes())
        for file in sorted(path.iterdir())
        if file.is_file() and file.name != _QUESTIONS and not file.name.startswith(".")
    )
    return DataSet(path.name, files, questions)


def _unique(answers: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(answers))
