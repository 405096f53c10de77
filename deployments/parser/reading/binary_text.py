"""Leave out binary data that is written as text, such as pictures in notebooks and Markdown."""

from __future__ import annotations

import re
from typing import Final

_MIN_DATA_CHARS: Final = 200
_DATA_ADDRESS: Final = re.compile(
    r"data:[\w.+-]{1,60}/[\w.+-]{1,60}(?:;[\w=.+-]{1,60}){0,3};base64,[A-Za-z0-9+/=]{20,}+"
)
_BASE64: Final = re.compile(rf"[A-Za-z0-9+/_-]{{{_MIN_DATA_CHARS},}}={{0,2}}")


def without_data(text: str) -> str:
    """Return a text without the content of its `data:` addresses."""
    return _DATA_ADDRESS.sub("data:", text) if ";base64," in text else text


def is_data(value: str) -> bool:
    """Tell whether a value is a long run of base64 or hexadecimal digits alone."""
    joined = "".join(value.split())
    return (
        len(joined) >= _MIN_DATA_CHARS
        and _BASE64.fullmatch(joined) is not None
        and (any(sign.isdigit() for sign in joined) and " " not in value.strip())
    )
