"""MathML as one line of text: `A = π r^2`, `(a + b)/(2 c)`, `sqrt(x)`."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from lxml import html  # type: ignore[import-untyped]

MAX_FORMULAS: Final = 5_000
"""Of a page; the rest is read as plain text."""
MAX_FORMULA_ELEMENTS: Final = 2_000
"""Of a larger formula, the plain text is returned."""
_MAX_DEPTH: Final = 50
_SKIPPED: Final = frozenset(("annotation", "annotation-xml", "mphantom", "none", "mprescripts"))
_INVISIBLE_OPERATORS: Final = frozenset("\u2061\u2062\u2063\u2064")
_TIGHT: Final = frozenset("()[]{}|,.;:!'/\u2032\u2033")
_FORMS: Final = {
    "msup": "{}^{}",
    "mover": "{}^{}",
    "msub": "{}_{}",
    "munder": "{}_{}",
    "msubsup": "{}_{}^{}",
    "munderover": "{}_{}^{}",
    "mfrac": "{}/{}",
    "mroot": "root({}, {})",
}
_JOINTS: Final = {"mtr": ", ", "mtable": "; "}
_MAX_ANCESTORS: Final = 3


def write_formulas(tree: html.HtmlElement) -> None:
    """Replace each `math` element by its text, and remove the second copy that renderers add."""
    for math in list(islice(tree.iter("math"), MAX_FORMULAS)):
        text = formula_text(math)
        math.clear(keep_tail=True)
        math.tag = "span"
        math.text = text
        _show(math)
        for ancestor in islice(math.iterancestors("span", "div", "nobr"), _MAX_ANCESTORS):
            copies = [e for e in ancestor if e.get("aria-hidden") == "true" and not _holds(e, math)]
            for copy in copies:
                copy.clear(keep_tail=True)
            if copies:
                break


def _show(math: html.HtmlElement) -> None:
    """Show a formula that is hidden because a picture of it is shown."""
    parent = math.getparent()
    following = None if parent is None else parent.getnext()
    if following is not None and following.tag == "img" and "style" in parent.attrib:
        del parent.attrib["style"]


def _holds(element: html.HtmlElement, math: html.HtmlElement) -> bool:
    return any(ancestor is element for ancestor in (math, *math.iterancestors()))


def formula_text(math: html.HtmlElement) -> str:
    """Return a `math` element as text in the notation of TeX without commands."""
    if sum(1 for _ in zip(math.iter(), range(MAX_FORMULA_ELEMENTS), strict=False)) < (
        MAX_FORMULA_ELEMENTS
    ):
        text = _node(math, 0)
        if text:
            return text
    return " ".join((math.get("alttext") or "".join(math.itertext())).split())


def _node(node: html.HtmlElement, depth: int) -> str:
    if not isinstance(node.tag, str) or node.tag in _SKIPPED:
        return ""
    if depth > _MAX_DEPTH or not len(node):
        text = "".join(c for c in "".join(node.itertext()) if c not in _INVISIBLE_OPERATORS)
        text = " ".join(text.split())
        return f" {text} " if node.tag == "mo" and text and text not in _TIGHT else text
    parts = [text for child in node if (text := _node(child, depth + 1))]
    form = _FORMS.get(node.tag, "")
    if form and len(parts) == form.count("{}"):
        base, *others = (part.strip() for part in parts)
        if node.tag == "mfrac":
            base = _grouped(base)
        return form.format(base, *map(_grouped, others))
    if node.tag in _JOINTS:
        return _JOINTS[node.tag].join(part.strip() for part in parts)
    return f"sqrt({_joined(parts)})" if node.tag == "msqrt" else _joined(parts)


def _joined(parts: list[str]) -> str:
    """Join with a space between names and numbers, none inside brackets."""
    text = ""
    for part in parts:
        apart = text and text[-1].isalnum() and part[0].isalnum()
        text += f" {part}" if apart else part
    return " ".join(text.split())


def _grouped(text: str) -> str:
    return text if text.isalnum() else f"({text})"
