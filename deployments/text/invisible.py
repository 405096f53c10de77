"""Remove invisible characters, which can hide instructions that only a model reads."""

from __future__ import annotations

import re
from typing import Final

# Control characters except tab, newline and return; Unicode's Default_Ignorable_Code_Point,
# which renders as nothing; lone surrogates. The joiners U+200C and U+200D stay between letters of
# the scripts from Arabic to Vedic, whose spelling needs them.
_INVISIBLE: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff\ud800-\udfff"
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
    "|(?<![\u0600-\u1cff])[\u200c\u200d]|[\u200c\u200d](?![\u0600-\u1cff])"
)


def without_invisible(text: str) -> str:
    """Return the visible characters of a text and its white space."""
    return _INVISIBLE.sub("", text)
