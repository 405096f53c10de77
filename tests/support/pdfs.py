"""Documents of made-up towns, as many as wanted: the same number gives the same bytes."""

from __future__ import annotations

import io
import random
import textwrap

PAGES = 25

_SYLLABLES = (
    "ar bel dor en fal gri hol is jun kel lor mar nov os pel quin ras sol tor ul ven wil yar zem"
).split()
_NAME_SYLLABLES = 4
_MAX_PAGES = 40
_SPREAD = 100_003  # coprime to the number of names: neighbours sound different
_KEEPERS = "archive guild school museum monastery library harbour office".split()
_THINGS = "maps bells lanterns ledgers clocks paintings seals looms globes anchors".split()
_PLACES = "north tower, old mill, granary, chapel, customs house, west cellar".split(", ")
_OPENINGS = (
    "In {town} it is said that",
    "Travellers to {town} write that",
    "The chronicle of {town} tells how",
    "Since the flood, as everybody in {town} knows,",
    "According to the council of {town},",
)
_SUBJECTS = (
    "the baker, the ferryman, a retired judge, the night watch, every child, the glazier, "
    "a stranger, the miller's daughter, the postmistress, half of the choir"
).split(", ")
_VERBS = (
    "walks to the river before sunrise, paints the doors in another colour each spring, "
    "repairs the roof of the market hall, counts the boats that come home, "
    "sells honey and candles on Thursdays, keeps a diary of wind and rain, "
    "plants two rows of pear trees, teaches the old songs to whoever asks, "
    "measures the height of the snow, waits for the train from the coast"
).split(", ")
_SENTENCES_A_PAGE = 24
_LINE_CHARS = 90
_MARGIN, _TOP, _SIZE = 60, 780, 10  # points


def sentence(number: int, page: int) -> str:
    """The one sentence of a document's page, from 1, that no other page has."""
    draw = random.Random(f"{number}/{page}")  # noqa: S311
    return (
        f"The {draw.choice(_KEEPERS)} of {_town(number, page)} keeps {draw.randint(200, 9000)} "
        f"{draw.choice(_THINGS)} in the {draw.choice(_PLACES)}."
    )


def page_text(number: int, page: int) -> str:
    """Some 330 words on the town of this page, its own sentence among them."""
    draw = random.Random(f"{number}/{page}/text")  # noqa: S311
    town = _town(number, page)
    sentences = [
        f"{draw.choice(_OPENINGS).format(town=town)} {draw.choice(_SUBJECTS)} "
        f"{draw.choice(_VERBS)}."
        for _ in range(_SENTENCES_A_PAGE)
    ]
    sentences.insert(draw.randrange(_SENTENCES_A_PAGE), sentence(number, page))
    return " ".join(sentences)


def pdf(number: int, pages: int = PAGES) -> bytes:
    """A PDF with a text layer, of at most 40 pages."""
    from reportlab.lib.pagesizes import A4
    from reportlab.pdfgen.canvas import Canvas

    out = io.BytesIO()
    canvas = Canvas(out, pagesize=A4, invariant=1)  # without the time of day in it
    canvas.setTitle(f"Towns, volume {number}")
    for page in range(1, pages + 1):
        lines = canvas.beginText(_MARGIN, _TOP)
        lines.setFont("Helvetica", _SIZE)
        lines.textLines(textwrap.wrap(page_text(number, page), _LINE_CHARS))
        canvas.drawText(lines)
        canvas.showPage()
    canvas.save()
    return out.getvalue()


def long_pdf(seed: int, pages: int) -> bytes:
    """A PDF of any number of pages, with 30 lines on each."""
    from reportlab.pdfgen.canvas import Canvas

    out = io.BytesIO()
    canvas = Canvas(out)
    for page in range(pages):
        for line in range(30):
            text = sentence(seed + page + line, page % PAGES + 1)
            canvas.drawString(60, 780 - 20 * line, text[:90])
        canvas.showPage()
    canvas.save()
    return out.getvalue()


def plain_text(number: int, pages: int) -> bytes:
    """The same words without a layout."""
    return "\n\n".join(page_text(number, page) for page in range(1, pages + 1)).encode()


def _town(number: int, page: int) -> str:
    """A name for each page of each document; they repeat after some 8000 documents."""
    if not 1 <= page <= _MAX_PAGES:
        raise ValueError(page)
    names = len(_SYLLABLES) ** _NAME_SYLLABLES
    rest = (number * _MAX_PAGES + page) * _SPREAD % names
    parts = []
    for _ in range(_NAME_SYLLABLES):
        rest, place = divmod(rest, len(_SYLLABLES))
        parts.append(_SYLLABLES[place])
    return "".join(parts).capitalize()
