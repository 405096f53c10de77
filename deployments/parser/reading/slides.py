"""Read PowerPoint presentations (PPTX): a slide is a page."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, Any, Final

from deployments.parser.reading.content import title_of_filename
from deployments.parser.reading.embedded_pictures import MemberPictures
from deployments.parser.reading.formats import Format
from deployments.parser.reading.outlined_text import OutlinedText, blank_pages
from deployments.parser.reading.rows import MIN_HEADED_COLUMNS, row_lines
from deployments.parser.reading.titles import tidy_title
from deployments.parser.reading.xml_trees import damaged, named, parse_xml, text_of
from deployments.parser.reading.zip_members import ZipMembers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pptx.slide import Slide

    from deployments.parser.reading.content import Content
    from deployments.parser.reading.embedded_pictures import Pictures
    from deployments.parser.reading.xml_trees import XmlElement

_WHAT: Final = "This presentation"
_MAX_NESTING: Final = 20  # of groups of shapes


def read_pptx(data: bytes, filename: str, *, max_chars: int, pictures: Pictures) -> Content:
    """Read the slides with their tables, charts, notes and comments."""
    import pptx
    from pptx.exc import PythonPptxError

    members = ZipMembers(data, _WHAT)
    members.check_sizes()  # python-pptx unpacks all of them
    text = OutlinedText(max_chars)
    shown = MemberPictures(members, pictures)
    # A slide show or a presentation with macros differs in its type only, which python-pptx
    # refuses.
    try:
        presentation = pptx.Presentation(io.BytesIO(_plain(members, data)))
        for slide in presentation.slides:
            text.page()
            _add_slide(text, slide, shown)
        stated = str(presentation.core_properties.title or "")
    except (PythonPptxError, KeyError, ValueError, AttributeError, TypeError) as error:
        raise damaged(_WHAT) from error
    # The heading of the first slide, unless that has none.
    first = next((each.title for each in text.headings if each.start == 0), "")
    title = tidy_title(stated) or tidy_title(first) or title_of_filename(filename)
    return text.content(title, Format.PPTX, blank_pages(text))


def _plain(members: ZipMembers, data: bytes) -> bytes:
    """Return a file whose main part has the type of an ordinary presentation."""
    types = members.read("[Content_Types].xml")
    ordinary = b"application/vnd.openxmlformats-officedocument.presentationml.presentation.main+xml"
    if ordinary in types:
        return data
    import re
    import zipfile

    types = re.sub(
        rb"application/vnd\.[\w.-]*(?:presentationml\.(?:slideshow|template)|powerpoint\.[\w.]*)"
        rb"\.main\+xml",
        ordinary,
        types,
        flags=re.IGNORECASE,
    )
    copy = io.BytesIO()
    with zipfile.ZipFile(copy, "w") as archive:
        for info in members.infos:
            name = info.filename
            archive.writestr(name, types if name == "[Content_Types].xml" else members.read(info))
    return copy.getvalue()


def _add_slide(text: OutlinedText, slide: Slide, pictures: MemberPictures) -> None:
    title = slide.shapes.title
    heading = title.text_frame.text.strip() if title is not None and title.has_text_frame else ""
    text.heading(heading, 1, heading)
    for shape in _leaves(slide.shapes):
        if title is not None and shape.shape_id == title.shape_id:
            continue
        _add_shape(text, shape)
    for related in slide.part.rels.values():
        if related.is_external:
            continue
        kind = related.reltype.rpartition("/")[2]
        if kind in {"diagramData", "comments"}:
            root = parse_xml(related.target_part.blob, _WHAT)
            label = "Comment: " if kind == "comments" else ""
            texts = (
                [text_of(each) for each in named(root, "text")]
                or [text_of(each) for each in named(root, "p")]
                or [text_of(each) for each in named(root, "t")]
            )
            text.lines(label + each for each in texts if each)
    for path in _pictures_of(slide):
        text.recognised(pictures.text(path))
    if slide.has_notes_slide:
        frame = slide.notes_slide.notes_text_frame
        if frame is not None and frame.text.strip():
            text.paragraph(f"Notes: {frame.text}")


def _pictures_of(slide: Slide) -> Iterator[str]:
    """Yield the paths of the pictures on a slide, then of those on its layout and master."""
    parts: list[Any] = [slide.part]
    with contextlib.suppress(KeyError):  # a slide may have none
        parts += [slide.slide_layout.part, slide.slide_layout.slide_master.part]
    for part in parts:
        for related in part.rels.values():
            if not related.is_external and related.reltype.endswith("/image"):
                yield str(related.target_part.partname).lstrip("/")


def _series(chart: XmlElement) -> Iterator[str]:
    """Yield a line for each series: its name, and its values with those of the other axis.

    python-pptx does not know all kinds of charts, such as those in three dimensions.
    """
    for series in named(chart, "ser"):
        name = next(
            (text_of(v) for part in series.iterchildren("{*}tx") for v in named(part, "v")), ""
        )
        names = _points(series, "cat", "xVal")
        values = _points(series, "val", "yVal")
        pairs = (f"{names.get(n, '')}: {value}".lstrip(": ") for n, value in values.items())
        yield f"{name}: {'; '.join(pairs)}".lstrip(": ")


def _points(series: XmlElement, *axes: str) -> dict[str, str]:
    """Return the values of an axis by their numbers."""
    parts = series.iterchildren(*(f"{{*}}{axis}" for axis in axes))
    return {each.get("idx", ""): text_of(each) for part in parts for each in named(part, "pt")}


def _leaves(shapes: Iterable[Any], depth: int = 0) -> Iterator[Any]:
    for shape in shapes:
        if hasattr(shape, "shapes") and depth < _MAX_NESTING:
            yield from _leaves(shape.shapes, depth + 1)
        else:
            yield shape


def _add_shape(text: OutlinedText, shape: Any) -> None:  # noqa: ANN401 - of many classes
    if getattr(shape, "has_table", False):
        rows = ([cell.text for cell in row.cells] for row in shape.table.rows)
        text.lines(row_lines(rows, MIN_HEADED_COLUMNS))
    elif getattr(shape, "has_chart", False):
        chart = shape.chart
        if chart.has_title and chart.chart_title.has_text_frame:
            text.paragraph(chart.chart_title.text_frame.text)
        text.lines(_series(parse_xml(shape.chart_part.blob, _WHAT)))
    elif getattr(shape, "has_text_frame", False):
        text.lines(paragraph.text.replace("\v", "\n") for paragraph in shape.text_frame.paragraphs)
