"""Data sets: documents to upload and questions with judgements, in four forms.

- A file in the form of SQuAD: each article becomes a document.
- BEIR: a folder with `corpus.jsonl`, `queries.jsonl` and `qrels/*.tsv`.
- JSON lines: a folder with `documents.jsonl` (id, title, text) and `questions.jsonl`.
- A folder of documents of any format with `questions.jsonl`.

A line of `questions.jsonl` has a `question` with its judgement: `answers` and the `document` that
holds them, or the `relevant` documents (a list, or an object of their grades).
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence  # noqa: TC003 - of dataclasses
from dataclasses import dataclass, field
from math import inf
from pathlib import Path  # noqa: TC003 - of a dataclass
from typing import TypeVar
from urllib.parse import quote

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from serve_app.documents.file_checks import shown_name
from serve_app.schemas.searches import MAX_QUERY_CHARS

PARAGRAPHS = "\n\n"  # between paragraphs of a plain text
_QUESTIONS, _DOCUMENTS = "questions.jsonl", "documents.jsonl"
_CORPUS, _QUERIES, _QRELS = "corpus.jsonl", "queries.jsonl", "qrels"
_SPLITS = ("test", "dev", "train")  # of BEIR's judgements; the first that exists
_NEEDED = f"a line of {_QUESTIONS} needs `answers` with a `document`, or `relevant` documents"
_FORMS = (
    "a SQuAD file, or a folder with corpus.jsonl, queries.jsonl and qrels (BEIR), with "
    "documents.jsonl and questions.jsonl, or of documents with questions.jsonl"
)


class DataError(Exception):
    """The data set is missing or cannot be read; the message says why."""


@dataclass(frozen=True)
class Question:
    """A question with its judgement.

    Either `answers` are spans that answer it, and `document` is the file name of the document that
    holds them (None: any); or `relevant` maps file names of documents to their grades.
    """

    text: str
    answers: tuple[str, ...] = ()
    document: str | None = None
    relevant: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class File:
    """A document to be uploaded; `content` may be the path of a file."""

    name: str
    content: bytes | Path

    @classmethod
    def of_text(cls, name: str, paragraphs: Sequence[str]) -> File:
        """Make a plain text file."""
        return cls(name, PARAGRAPHS.join(paragraphs).encode())

    @property
    def data(self) -> bytes:
        """The bytes of the document."""
        return self.content if isinstance(self.content, bytes) else self.content.read_bytes()


@dataclass(frozen=True)
class DataSet:
    """Documents and judged questions; `notes` say what was left out."""

    name: str
    files: tuple[File, ...]
    questions: tuple[Question, ...]
    notes: tuple[str, ...] = ()

    @property
    def judges_documents(self) -> bool:
        """Whether questions have relevant documents rather than spans."""
        return any(question.relevant for question in self.questions)


def load(path: Path, split: str | None = None) -> DataSet:
    """Read a data set; raises DataError.

    `split` names the judgements of a BEIR set (default: test, else dev, else train).
    """
    if not path.exists():
        msg = f"{path.name} does not exist: name {_FORMS}"
        raise DataError(msg)
    try:
        if path.is_file():
            read = _squad(path)
        elif (path / _CORPUS).exists():
            read = _beir(path, split)
        elif (path / _QUESTIONS).exists():
            read = _json_lines(path) if (path / _DOCUMENTS).exists() else _folder(path)
        else:
            msg = f"{path.name} is no data set: name {_FORMS}"
            raise DataError(msg)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        # Without the path, which results should not contain.
        coding = isinstance(error, UnicodeDecodeError)
        reason = "it is not UTF-8" if coding else getattr(error, "strerror", None) or error
        msg = f"{path.name} cannot be read: {reason}"
        raise DataError(msg) from error
    return _judged(path.resolve().name.removesuffix(".json"), read)


@dataclass
class _Read:
    """A data set as read: files by their ids, and questions that name those ids.

    `needed` is the error if no question has a judgement.
    """

    files: dict[str, File]
    questions: list[_Asked]
    needed: str


class _Line(BaseModel):
    model_config = ConfigDict(coerce_numbers_to_str=True)


class _Text(_Line):
    id: str = Field(validation_alias=AliasChoices("_id", "id"))
    title: str | None = None
    text: str


class _Asked(_Line):
    """A line of `questions.jsonl`."""

    question: str = Field(pattern=r"\S")
    answers: list[str] = []
    document: str | None = None
    relevant: list[str] | dict[str, float] = []

    def grades(self) -> dict[str, float]:
        """Return the grades of the relevant documents."""
        found = self.relevant
        grades = found if isinstance(found, dict) else dict.fromkeys(found, 1.0)
        return {document: grade for document, grade in grades.items() if 0 < grade < inf}


class _Span(BaseModel):
    text: str


class _SquadQuestion(BaseModel):
    question: str = Field(pattern=r"\S")
    answers: list[_Span] = []


class _Paragraph(BaseModel):
    context: str
    qas: list[_SquadQuestion]


class _Article(BaseModel):
    title: str
    paragraphs: list[_Paragraph]


class _Squad(BaseModel):
    data: list[_Article]


Shape = TypeVar("Shape", bound=BaseModel)


def _squad(path: Path) -> _Read:
    squad = _parsed(_Squad, path.read_text(encoding="utf-8"), path.name)
    files = []
    questions = []
    for article in squad.data:
        name = article.title.replace("_", " ").replace("/", "-") + ".txt"
        files.append((name, File.of_text(name, [one.context for one in article.paragraphs])))
        for paragraph in article.paragraphs:
            for asked in paragraph.qas:
                spans = [answer.text for answer in asked.answers]
                document = name if spans else None  # an unanswerable one has no judgement
                questions.append(_Asked(question=asked.question, answers=spans, document=document))
    return _Read(_by_id(files, path.name), questions, "none has an answer")


def _beir(path: Path, split: str | None) -> _Read:
    tables = {table.stem: table for table in sorted((path / _QRELS).glob("*.tsv"))}
    wanted = (split,) if split else (*_SPLITS, *tables)
    table = next((tables[name] for name in wanted if name in tables), None)
    if table is None:
        found = f"it has {', '.join(tables)}" if tables else f"it needs {_QRELS}/test.tsv"
        msg = f"{path.name} has no judgements{f' of the split {split}' if split else ''}: {found}"
        raise DataError(msg)
    grades: dict[str, dict[str, float]] = {}
    with table.open(encoding="utf-8", newline="") as rows:
        for number, row in enumerate(csv.reader(rows, delimiter="\t", quoting=csv.QUOTE_NONE), 1):
            if not row or (number == 1 and row[-1] == "score"):
                continue
            try:
                query, document, grade = row
                grades.setdefault(query, {})[document] = float(grade)
            except ValueError:
                msg = f"{table.name}, line {number}: not query-id, corpus-id and score"
                raise DataError(msg) from None
    questions = [
        _Asked(question=query.text, relevant=grades[query.id])
        for query in _lines(path / _QUERIES, _Text)
        if query.id in grades and query.text.strip()
    ]
    return _Read(_texts(path / _CORPUS), questions, f"{table.name} judges none of its queries")


def _json_lines(path: Path) -> _Read:
    questions = list(_lines(path / _QUESTIONS, _Asked))
    return _Read(_texts(path / _DOCUMENTS), questions, _NEEDED)


def _folder(path: Path) -> _Read:
    files = []
    for file in sorted(path.rglob("*")):
        below = file.relative_to(path)
        hidden = any(part.startswith(".") for part in below.parts)
        if file.is_file() and not hidden and str(below) != _QUESTIONS:
            files.append((below.as_posix(), File(" - ".join(below.parts), file)))
    questions = list(_lines(path / _QUESTIONS, _Asked))
    return _Read(_by_id(files, path.name), questions, _NEEDED)


def _texts(path: Path) -> dict[str, File]:
    """Make a text file of each line: its title, an empty line, its text."""
    return _by_id(
        (
            (one.id, File.of_text(f"{quote(one.id, safe='')}.txt", _paragraphs(one)))
            for one in _lines(path, _Text)
        ),
        path.name,
    )


def _paragraphs(one: _Text) -> list[str]:
    return [part for part in (one.title or "", one.text) if part]


def _by_id(files: Iterable[tuple[str, File]], where: str) -> dict[str, File]:
    """Give each file the name that the service will show; raise DataError if two are the same."""
    named = [(key, File(shown_name(file.name), file.content)) for key, file in files]
    [(most, count)] = Counter(file.name for _, file in named).most_common(1) or [("", 0)]
    if count > 1:
        msg = f"{where} has {count} documents of the name {most}"
        raise DataError(msg)
    return dict(named)


def _judged(name: str, read: _Read) -> DataSet:
    """Name the documents of judgements by their files; raise DataError for a set without any."""
    if not read.files:
        msg = f"{name} has no documents"
        raise DataError(msg)
    names = {key: file.name for key, file in read.files.items()}
    questions = [_question(asked, names, name) for asked in read.questions]
    judged = tuple(filter(None, questions))
    if not judged:
        msg = f"{name} has no judged questions: {read.needed}"
        raise DataError(msg)
    notes = []
    if unjudged := len(questions) - len(judged):
        notes.append(f"{unjudged:,} questions without a judgement are left out")
    if unknown := sum(key not in names for asked in read.questions for key in asked.grades()):
        notes.append(f"{unknown:,} judgements name documents that the set does not have")
    if long := sum(len(one.text) > MAX_QUERY_CHARS for one in judged):
        notes.append(f"of {long:,} questions the first {MAX_QUERY_CHARS:,} characters are used")
    return DataSet(name, tuple(read.files.values()), judged, tuple(notes))


def _question(asked: _Asked, names: Mapping[str, str], where: str) -> Question | None:
    """Return the question, None if it has no judgement; raise DataError if that is wrong."""
    if asked.document is not None and asked.document not in names:
        msg = f"{where}: {asked.question!r} names {asked.document}, which is no document of the set"
        raise DataError(msg)
    answers = tuple(dict.fromkeys(filter(str.strip, asked.answers)))
    document = None if asked.document is None else names[asked.document]
    grades = asked.grades()
    if grades and not any(key in names for key in grades):
        msg = f"{where}: no document relevant to {asked.question!r} is in the set"
        raise DataError(msg)
    # Relevant documents that the set lacks stay in the ideal ranking, as in trec_eval.
    relevant = {names.get(key, f"(missing) {key}"): grade for key, grade in grades.items()}
    if document and not answers and not relevant:
        relevant = {document: 1.0}
    if not (answers or relevant):
        return None
    return Question(asked.question, answers, document, relevant)


def _lines(path: Path, shape: type[Shape]) -> Iterator[Shape]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield _parsed(shape, line, f"{path.name}, line {number}")


def _parsed(shape: type[Shape], text: str, where: str) -> Shape:
    try:
        return shape.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        msg = f"{where}: {f'{place}: ' if place else ''}{first['msg']}"
        raise DataError(msg) from error
