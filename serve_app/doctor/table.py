"""The report of the doctor as a table for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SHOWN = 3  # examples of each kind


def table(record: Mapping[str, Any]) -> str:
    """Return the lines of a report."""
    return "\n".join(_lines(record))


def _lines(record: Mapping[str, Any]) -> Iterator[str]:
    looked_at = ", ".join(f"{number:,} {name}" for name, number in record["looked_at"].items())
    yield f"looked at {looked_at}, in {record['took_s']:.1f} s"
    for kind in record["kinds"]:
        mended = f", {kind['mended']:,} mended" if kind["mended"] else ""
        yield f"\n{kind['kind']}: {kind['found']:,}{mended}"
        yield f"  what     {kind['what']}"
        yield f"  follows  {kind['consequence']}"
        yield f"  {'--mend ' if kind['mendable'] else 'do     '}  {kind['remedy']}"
        for example in kind["examples"][:_SHOWN]:
            detail = f": {example['detail']}" if example["detail"] else ""
            state = " (mended)" if example["mended"] else ""
            yield f"  example  {example['subject']}{detail}{state}"
    yield ""
    found = sum(kind["found"] for kind in record["kinds"])
    yield f"{found:,} found, {record['left']:,} of them not mended" if found else "nothing found"
