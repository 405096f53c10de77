r"""Citations that never lie: numbers that are not among the sources leave the model's text.

What counts as a citation: one or more numbers in brackets, as `[1]`, `[1, 3]`, `[1-3]`,
`[Source 2]`, `[^1]`, `[[1]]`, `\[1\]`, `【1】` or `[1: Title]`. The number need not be small:
`[2019]` is more often a year than a citation, but a reader cannot tell, and a lost year does less
harm than a source that does not exist. Of several unknown numbers, or one with words behind it,
only the brackets become round ones: a list or an interval is not lost, and cites nothing.

What does not count: code (in backticks that close on their line, or a block, which runs to its
closing fence or to the end), an index directly behind what can only be code outside of it too
(`x[7]`, `row_ids[7]`, but not `grass[7]`), and links, which bring their own address
(`[7](https://...)`).
"""

from __future__ import annotations

import re
from typing import Final

MOST_HELD_CHARS: Final = 120  # Of a marker, and again of the line behind one in backticks.

_WORDS: Final = (
    *("source", "sources", "src", "document", "documents", "doc", "docs", "passage", "passages"),
    *("reference", "references", "ref", "refs", "citation", "citations", "footnote", "note"),
    *("result", "results", "quelle", "quellen", "id"),
)
_PLACES: Final = ("p", "pp", "page", "pages", "section", "sec")
_JOINING: Final = ("and", "und", "et", "to", "id", "no")
_BEGINNINGS: Final = {
    word[:n] for word in (*_WORDS, *_PLACES, *_JOINING) for n in range(1, len(word) + 1)
}


def _one_of(*words: str) -> str:
    return rf"(?ai:{'|'.join(words)})(?![^\W\d_])"


_OPENERS: Final = r"\[\u3010\uff3b"  # Also those of Chinese and Japanese.
_CLOSERS: Final = r"\]\u3011\uff3d"
_COMMAS: Final = r",;\u3001\uff0c\uff1b"
_DASH: Final = "[-\u2010-\u2015\u2212~]"
# Everything that could be read in two ways is atomic: tried again in all combinations, a marker
# that never closes would take time that doubles with each of them.
_PLACE: Final = (  # Where in the source: not another one's number.
    rf"(?>[\s,;:]*(?:{_one_of(*_PLACES)}\.?|§)\s*\d+(?:\s*{_DASH}\s*\d+)?)"
)
_NAME: Final = rf"(?>{_one_of(*_WORDS)}\s*(?:{_one_of('id', 'no')})?\.?\s*[:=#]?\s*)"
_ITEM: Final = rf"(?:{_NAME})?\*{{0,2}}[\"']?[\^#]?\d++[\"']?\*{{0,2}}(?:{_PLACE})?+"
_BETWEEN: Final = (
    rf"(?>\s*(?:{_DASH}|[/&]|{_one_of('to', 'and', 'und', 'et')})\s*"
    rf"|[\s{_COMMAS}]+(?:(?:{_one_of('and', 'und', 'et')}|&)\s*)?)"
)
_TITLE: Final = (  # Of the source: it begins like a word, and is short.
    rf"[,:]\s{{0,2}}[\"'\u201c(]?[^\W\d_][^\n{_OPENERS}{_CLOSERS}]{{0,79}}"
)


def _numbers(title: str) -> str:
    """Match what stands in the brackets; `title` names the group of the title behind it."""
    return (
        rf"\s*(?:(?>{_ITEM}(?:{_BETWEEN}{_ITEM})*)(?:(?P<{title}>{_TITLE})|\.)?"
        rf"|\d+(?::\d+)?†[^\n{_OPENERS}{_CLOSERS}]*)\s*"
    )


_MARKER: Final = re.compile(
    rf"(?P<space> ?)"
    rf"(?:(?P<open_2>\\?\[\[)(?P<inner_2>{_numbers('title_2')})(?P<close_2>\\?\]\\?\])"
    rf"|(?P<open>\\?[{_OPENERS}])(?P<inner>{_numbers('title')})(?P<close>\\?[{_CLOSERS}]))"
)
# All that a marker may begin with, and a little more.
_UNFINISHED: Final = re.compile(
    rf" ?\\?(?:\[\[|[{_OPENERS}])(?P<inner>(?:[\s\d{_COMMAS}.:&/^#§=*\"']|{_DASH}|[^\W\d_])*?)"
    rf"(?:†[^\n{_OPENERS}{_CLOSERS}]*|(?<=[\d\"'*])(?P<title>{_TITLE}))?\\?\]?\\?"
)
_AFTER_NUMBERS: Final = re.compile(rf"{_PLACE}|(?::\d+)?†.*")
_RANGE_OR_NUMBER: Final = re.compile(rf"(\d+)(?:\s*(?:{_DASH}|(?ai:to))\s*(\d+))?")
_OPEN: Final = re.compile(rf"[{_OPENERS}][^{_OPENERS}{_CLOSERS}]*\Z")
_LETTERS: Final = re.compile(r"[^\W\d_]+")
_ORDINARY: Final = re.compile(rf"(?:[^{_OPENERS}`~\\ ]| (?=[^{_OPENERS}\\]))+")
_BEFORE_FENCE: Final = re.compile(r"[ \t>]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)?")
# No single letters that are words, in English or another language.
_CODE_LIKE: Final = re.compile(r"(?<![\w'\u2019.-])(?:[b-df-np-xz]|\w*[^\W_]_[^\W_]\w*)\Z")
_LINKS: Final = ("(https://", "(http://", "(/", "(#")
_LEAST_FENCE_CHARS: Final = 3


class Citations:
    """A filter for one text that comes in pieces; how it is cut makes no difference.

    `known` sources are numbered from 1; `cited` are those referred to, in order of their
    first appearance. Unknown numbers leave their marker; a marker of one that is unknown goes,
    with the space before it.
    """

    def __init__(self, known: int) -> None:
        self.cited: list[int] = []
        self._known = known
        self._held = ""
        self._shown = ""  # The end of it.
        self._dropped = False  # Whether a marker was, just now.
        self._indexed = False  # Whether an index of code was let pass, just now.
        self._ticks = 0  # How many opened the inline code that is still open.
        self._stray = False  # A line ended in open inline code: it may be none at all.
        self._opening = ""  # What opens a block of code if the line ends without backticks.
        self._fence = ""  # What opened the block of code.

    def feed(self, text: str) -> str:
        """Return what may be shown: all but what may be the beginning of a marker."""
        return self._scan(self._held + text, last=False)

    def close(self) -> str:
        """Return what was held back, at the end of the text."""
        return self._scan(self._held, last=True)

    def _scan(self, text: str, *, last: bool) -> str:
        shown, at = [], 0
        while at < len(text):
            step = self._step(text, at, last=last)
            if step is None:
                break
            at, piece = step
            shown.append(piece)
        self._held = text[at:]
        return "".join(shown)

    def _step(self, text: str, at: int, *, last: bool) -> tuple[int, str] | None:
        """Return how far the text is read now and what of that is shown, or None to wait."""
        if self._fence:
            return self._show(text, at, text.find("\n", at) + 1 or len(text))
        if self._dropped and text[at] == " " and not self._line().strip():
            return self._show(text, at, at + 1, "")  # It would indent what follows.
        if ordinary := _ORDINARY.match(text, at):
            return self._show(text, at, ordinary.end())
        if text[at] in "`~":
            return self._run(text, at, last=last)
        return self._bracket(text, at, last=last)

    def _run(self, text: str, at: int, *, last: bool) -> tuple[int, str] | None:
        run = text[at : at + MOST_HELD_CHARS]
        run = run[: len(run) - len(run.lstrip(run[0]))]
        end = at + len(run)
        if end == len(text) and len(run) < MOST_HELD_CHARS and not last:
            return None
        # What stood between two runs is no reason for them to become one.
        apart = " " if self._dropped and self._shown.endswith(run[0]) else ""
        self._note_run(run)
        return self._show(text, at, end, apart + run)

    def _bracket(self, text: str, at: int, *, last: bool) -> tuple[int, str] | None:
        end = at + MOST_HELD_CHARS
        if marker := _MARKER.match(text, at, end):
            return self._marker(text, marker, last=last)
        if not last and text[at : at + 3] in {" ", "\\", " \\"}:
            return None
        if beginning := _beginning(text, at, end):
            if len(text) >= end:
                # Too long to wait for its end: without its bracket it never becomes one.
                return self._drop(text, at, beginning.start("inner"), " " * (text[at] == " "))
            if not last:
                return None
        escape = text[at] == "\\" and not self._ticks and text[at + 1 : at + 2] in {"\\", "`"}
        return self._show(text, at, at + 2 if escape else at + 1)

    def _marker(self, text: str, found: re.Match[str], *, last: bool) -> tuple[int, str] | None:
        at, end = found.span()
        if self._ticks and (code := self._in_code(text, end, last=last)) is not False:
            return None if code is None else self._show(text, at, end)
        opener = found["open"] or found["open_2"]
        if opener == "[" and not found["space"] and self._behind_code():
            result = self._show(text, at, end)
            self._indexed = True
            return result
        return self._citation(text, found, opener, last=last)

    def _citation(
        self, text: str, found: re.Match[str], opener: str, *, last: bool
    ) -> tuple[int, str] | None:
        at, end = found.span()
        inner, title = found["inner"] or found["inner_2"], found["title"] or found["title_2"] or ""
        known, unknown, several = self._sorted(inner.rstrip().removesuffix(title.rstrip()))
        if unknown and opener == "[":
            link = text[end : end + len(_LINKS[0])]
            if link.startswith(_LINKS):
                return self._show(text, at, end)
            if not last and any(begin.startswith(link) for begin in _LINKS):
                return None
        if unknown and (title or (several and not known)):
            apart = found["space"] or " " * self._shown.endswith("]")  # or it would be a link
            return self._show(text, at, end, f"{apart}({inner.strip()})")
        self.cited += [number for number in known if number not in self.cited]
        if not unknown:
            return self._show(text, at, end)
        if not known:
            return self._drop(text, at, end)
        numbers = ", ".join(map(str, known))
        closer = found["close"] or found["close_2"]
        return self._show(text, at, end, f"{found['space']}{opener}{numbers}{closer}")

    def _sorted(self, inner: str) -> tuple[list[int], bool, bool]:
        """Return the known numbers, whether there are others, and whether there are several.

        None is known beside a nought: no source has that number, so that it is no citation.
        """
        known: list[int] = []
        numbers: list[int] = []
        for found in _RANGE_OR_NUMBER.finditer(_AFTER_NUMBERS.sub("", inner)):
            first, last = int(found[1]), int(found[2] or found[1])
            numbers += [first, last] if found[2] else [first]
            if first <= last:
                known += range(max(first, 1), min(last, self._known) + 1)
            else:  # No range, then.
                known += [number for number in (first, last) if 1 <= number <= self._known]
        unknown = any(not 1 <= number <= self._known for number in numbers)
        several = len(numbers) > 1
        return [] if several and 0 in numbers else list(dict.fromkeys(known)), unknown, several

    def _in_code(self, text: str, end: int, *, last: bool) -> bool | None:
        """Whether the open inline code closes on this line, soon; None if not yet known."""
        line = text[end : end + MOST_HELD_CHARS]
        ended = last and end + len(line) == len(text)
        for run in re.finditer(r"`+|\n", line):
            if run[0] == "\n":
                return False
            if run.end() == len(line) and not ended:
                break  # It may go on.
            if len(run[0]) == self._ticks:
                return True
        waits = not last and end + MOST_HELD_CHARS >= len(text)
        return None if waits else False

    def _behind_code(self) -> bool:
        return self._indexed or (not self._dropped and bool(_CODE_LIKE.search(self._shown)))

    def _drop(self, text: str, at: int, end: int, instead: str = "") -> tuple[int, str]:
        before = _OPEN.search(self._shown)
        if before and _beginning(self._shown, before.start(), before.end()):
            instead = "?"  # Left and right of it may be the halves of another: that parts them.
        result = self._show(text, at, end, instead)
        self._dropped = True
        return result

    def _line(self) -> str:
        line = self._shown.rpartition("\n")[2]
        return line if len(line) <= MOST_HELD_CHARS else "..."  # Neither blank nor a fence.

    def _show(self, text: str, at: int, end: int, instead: str | None = None) -> tuple[int, str]:
        piece = text[at:end] if instead is None else instead
        first, *lines = piece.split("\n")
        self._shown += first
        for line in lines:
            self._end_line()
            self._shown += "\n" + line
        self._shown = self._shown[-MOST_HELD_CHARS - 1 :]
        self._dropped = self._indexed = False
        return end, piece

    def _note_run(self, run: str) -> None:
        fences = len(run) >= _LEAST_FENCE_CHARS and _BEFORE_FENCE.fullmatch(self._line())
        opening = run if fences and not self._ticks else ""
        if run[0] == "~" or self._opening.startswith("~"):
            self._opening = self._opening or opening
            return
        self._opening = "" if self._opening else opening
        if self._ticks:
            self._ticks = 0 if len(run) == self._ticks else self._ticks
        elif not self._stray:
            self._ticks = len(run)

    def _end_line(self) -> None:
        line = self._line()
        if self._fence:
            bare = line.strip(" \t\r>")
            if bare.startswith(self._fence) and not bare.strip(self._fence[0]):
                self._fence = ""
            return
        self._fence, self._opening = self._opening, ""
        # Backticks may close on a later line, or were never code. Until the paragraph ends
        # nothing in backticks is trusted to be code.
        self._stray = bool(line.strip()) and (self._stray or self._ticks > 0) and not self._fence
        self._ticks = 0


def _beginning(text: str, at: int, end: int) -> re.Match[str] | None:
    """Match all of this stretch, if a marker may begin so."""
    found = _UNFINISHED.fullmatch(text, at, end)
    if found is None:
        return None
    words = _LETTERS.findall(found["inner"])
    return found if all(word.lower() in _BEGINNINGS for word in words) else None
