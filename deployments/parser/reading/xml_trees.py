"""Parse XML from outside: no entities, no network, bounded size and depth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from lxml import etree  # type: ignore[import-untyped]

from deployments.errors import TooLarge, Unprocessable

if TYPE_CHECKING:
    from collections.abc import Iterator

XmlElement: TypeAlias = etree._Element  # noqa: SLF001 - it has no public name

MAX_XML_BYTES: Final = 100 * 1024**2
"""Of one XML file; its tree takes some ten times as much memory."""


def parse_xml(data: bytes, what: str = "This XML file") -> XmlElement:
    """Return the root of a tree.

    Entities are left out, so that none of them expands to much or reads a file.

    Raises:
        TooLarge: the file is larger than `MAX_XML_BYTES`.
        Unprocessable: it is no XML (`damaged_document`).
    """
    if len(data) > MAX_XML_BYTES:
        msg = f"{what} has more than {MAX_XML_BYTES // 1024**2} MB of XML."
        raise TooLarge(msg)
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise damaged(what) from error
    if root is None:
        raise damaged(what)
    if root.getroottree().docinfo.internalDTD is not None:
        etree.strip_elements(root, etree.Entity, with_tail=False)
    return root


def damaged(what: str = "This file") -> Unprocessable:
    """Return the error for a file that does not follow its format."""
    msg = f"{what} is damaged or incomplete. Open and save it again, or upload it once more."
    return Unprocessable(msg, code="damaged_document")


def local(element: XmlElement) -> str:
    """Return the name of an element without its namespace; "" for what is no element."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def attribute(element: XmlElement, name: str) -> str:
    """Return an attribute by its name without namespace, or ""."""
    for key, value in element.attrib.items():
        if key.rpartition("}")[2] == name:
            return str(value)
    return ""


def named(root: XmlElement, *names: str) -> Iterator[XmlElement]:
    """Yield the elements below `root` with one of some names, in any namespace."""
    yield from root.iter(*(f"{{*}}{name}" for name in names))


def outermost(
    root: XmlElement, *names: str, closed: frozenset[str] = frozenset()
) -> Iterator[XmlElement]:
    """Yield the elements below `root` with one of some names, but none within another one.

    Elements named in `closed` are not searched.
    """
    for child in root:
        name = local(child)
        if name in names:
            yield child
        elif name not in closed:
            yield from outermost(child, *names, closed=closed)


def text_of(element: XmlElement) -> str:
    """Return all text in an element, with single spaces."""
    return " ".join("".join(element.itertext()).split())
