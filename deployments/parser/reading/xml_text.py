"""Read XML of any kind: records as rows, mixed text as paragraphs, titles as headings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from deployments.parser.reading.content import title_of_filename
from deployments.parser.reading.formats import Format
from deployments.parser.reading.outlined_text import OutlinedText
from deployments.parser.reading.xml_trees import local, parse_xml, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deployments.parser.reading.content import Content
    from deployments.parser.reading.xml_trees import XmlElement

_HEADINGS: Final = frozenset(("title", "head", "heading", "h1", "h2", "h3", "h4", "h5", "h6"))
_UNSEEN: Final = frozenset(("script", "style", "metadata"))
_MAX_HEADING_CHARS: Final = 200
_HIDDEN_ATTRIBUTES: Final = frozenset(("schemaLocation", "noNamespaceSchemaLocation", "space"))


def read_xml(data: bytes, filename: str, *, max_chars: int) -> Content:
    """Read XML; raise Unprocessable for what is none (`damaged_document`)."""
    root = parse_xml(data)
    text = OutlinedText(max_chars)
    _add(text, root)
    return text.content(title_of_filename(filename), Format.XML)


def _add(text: OutlinedText, root: XmlElement) -> None:
    """Add elements in their order; a stack, as they may be deep."""
    stack: list[tuple[XmlElement, int]] = [(root, 1)]
    while stack:
        element, level = stack.pop()
        name = local(element)
        if not name or name in _UNSEEN:
            continue
        children = [child for child in element if local(child)]
        if not children or _is_record(element, children):
            whole = text_of(element)
            if name.lower() in _HEADINGS and whole and len(whole) <= _MAX_HEADING_CHARS:
                text.heading(whole, level)
            else:
                text.line("; ".join(_cells(element, children)))
        elif _is_mixed(element):
            text.paragraph(text_of(element))
        else:
            attributes = "; ".join(_attributes(element))
            if attributes:
                text.line(f"{name}: {attributes}" if element is not root else attributes)
            stack += [(child, level + 1) for child in reversed(children)]


def _is_record(element: XmlElement, children: list[XmlElement]) -> bool:
    """Tell whether all parts are plain values, each of another name."""
    names = [local(child) for child in children]
    return (
        not _is_mixed(element)
        and len(set(names)) == len(names)
        and not any(name.lower() in _HEADINGS for name in names)
        and not any(len(child) for child in children)
        and sum(len(child.text or "") for child in children) <= 2_000  # noqa: PLR2004
    )


def _is_mixed(element: XmlElement) -> bool:
    return any((child.tail or "").strip() for child in element) or bool(
        len(element) and (element.text or "").strip()
    )


def _cells(element: XmlElement, children: list[XmlElement]) -> Iterator[str]:
    yield from _attributes(element)
    if not children:
        whole = text_of(element)
        if whole:
            yield f"{local(element)}: {whole}"
    for child in children:
        cell = ", ".join(filter(None, (text_of(child), *_attributes(child))))
        if cell:
            yield f"{local(child)}: {cell}"


def _attributes(element: XmlElement) -> Iterator[str]:
    for key, value in element.attrib.items():
        name = key.rpartition("}")[2]
        if name not in _HIDDEN_ATTRIBUTES and value.strip():
            yield f"{name}: {' '.join(value.split())}"
