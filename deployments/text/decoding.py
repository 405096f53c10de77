"""Decode texts from outside: uploads, web pages and mails, by one function."""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections import Counter
from contextlib import suppress
from typing import Final

# UTF-32 first: its little-endian byte order mark begins with that of UTF-16.
_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Python also has codecs whose time grows with the square of the length, such as punycode, and
# codecs that are no encodings of text.
_TEXT_CODECS: Final = re.compile(
    r"utf-8|utf-16(?:-[bl]e)?|cp(?:125\d|437|85[0-8]|866|874|932|936|949|950)|iso8859-\d{1,2}"
    r"|koi8-[ru]|mac-(?:roman|cyrillic)|shift_jis(?:x0213|_2004)?|euc_(?:jp|kr|jis_2004)"
    r"|iso2022_(?:jp|kr)|gb2312|gbk|gb18030|big5(?:hkscs)?|johab|tis-620|ptcp154"
)
# What may be guessed: the encodings in use, as their neighbours differ from them in few bytes.
_GUESSED: Final = (
    *("cp1252", "cp1251", "cp1250", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257"),
    *("koi8_r", "koi8_u", "cp866", "mac_cyrillic", "mac_roman", "iso8859_2"),
    *("cp932", "euc_jp", "gb18030", "big5", "cp949", "cp874"),
)
_WESTERN: Final = (
    *("äöüß", "àâæçéèêëîïôœùûü", "áéíñóúüºª", "áâãàçéêíóôõúü", "àèéìòù", "åäöæøéü", "áðéíóúýþæö"),
    *("ëïéèöüáó", "äöüõšž", "àçèéíïòóúü·"),
)
_CENTRAL: Final = (
    *("ąćęłńóśźż", "áčďéěíňóřšťúůýž", "áäčďéíĺľňóôŕšťúýž", "áéíóöőúüű", "ăâîşţ", "čćđšž"),
)
_PUNCTUATION: Final = "„“”«»\u2018\u2019\u201a\u2039\u203a\u2013—…•·§°€£©®™\u00a0\u00ad\u00d7"
_MIN_LEAD: Final = 0.2
_SAMPLE_BYTES: Final = 64 * 1024
# A text in UTF-8 may have so many wrong bytes for each of its characters beyond ASCII.
_MAX_WRONG_SHARE: Final = 0.1
_MIN_NUL_SHARE: Final = 0.3  # in UTF-16 of mostly Latin letters
_ISO_2022_JP: Final = b"\x1b$"
_COMMON: Final = frozenset(" \n\r\t,.\u3002\u3001\uff0c\u06d4\u0964")


def decode_text(data: bytes, *declared: str | None) -> str:
    """Decode a text; never fail.

    By its byte order mark, the pattern of NULs in UTF-16, the `declared` encodings in order,
    UTF-8, and then by guess. A byte that is wrong in this encoding becomes U+FFFD.
    """
    for mark, name in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(name, "replace")
    if wide := utf_16_without_mark(data):
        return data.decode(wide, "replace")
    if _ISO_2022_JP in data[:_SAMPLE_BYTES]:  # seven bits, so it looks like ASCII
        with suppress(UnicodeDecodeError):
            return data.decode("iso2022_jp")
    named = [name for name in map(codec_of, declared) if name]
    for name in (*named, "utf-8"):
        with suppress(UnicodeDecodeError):
            return data.decode(name)
    if _is_nearly_utf_8(data):
        return data.decode("utf-8", "replace")
    return data.decode(named[0] if named else _guess(data), "replace")


def decode_html(data: bytes, declared: str | None = None) -> str:
    """Decode by byte order mark, `declared`, the declaration in the page, then by guess."""
    # Imported here: with it comes an HTML parser, and the Ingress reads few pages.
    from bs4.dammit import EncodingDetector

    in_page = EncodingDetector.find_declared_encoding(data, is_html=True)
    return decode_text(data, declared, in_page)


def decode_sample(data: bytes) -> str:
    """Decode the beginning of a text for its ASCII characters, without a guess.

    Of a text in another encoding than UTF, each further byte becomes one character.
    """
    for mark, name in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(name, "replace")
    if wide := utf_16_without_mark(data):
        return data.decode(wide, "replace")
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(data)  # the end may be cut
    except UnicodeDecodeError:
        return data.decode("latin-1")


def utf_16_without_mark(data: bytes) -> str | None:
    """Return the UTF-16 codec of a text without a byte order mark that has NULs; else None."""
    sample = data[:_SAMPLE_BYTES]
    sample = sample[: len(sample) // 2 * 2]
    nuls = sample.count(0)
    if nuls == 0:
        return None
    in_odd = sample[1::2].count(0)
    if nuls > len(sample) * _MIN_NUL_SHARE:
        # Mostly-Latin text has NULs in nearly every second byte.
        if in_odd in (0, nuls):
            return "utf-16-le" if in_odd else "utf-16-be"
        return None
    # Other scripts have NULs with their spaces and line ends, and in some letters.
    counts = {}
    for name in ("utf-16-le", "utf-16-be"):
        text = sample.decode(name, "replace")
        if all(unicodedata.category(sign)[0] != "C" or sign in "\n\r\t" for sign in text):
            counts[name] = sum(sign in _COMMON for sign in text)
    best = max(counts, key=counts.__getitem__, default=None)
    return best if best is not None and counts[best] else None


def codec_of(label: str | None) -> str | None:
    """Return the codec of an encoding's name; None for one that text is not written in."""
    label = (label or "").strip().lower()
    # By the WHATWG standard these names mean windows-1252.
    if label in {"iso-8859-1", "latin-1", "latin1", "us-ascii", "ascii"}:
        return "windows-1252"
    try:
        name = codecs.lookup(label).name
    except (LookupError, ValueError):
        return None
    return name if _TEXT_CODECS.fullmatch(name) else None


def _is_nearly_utf_8(data: bytes) -> bool:
    """Tell whether most of the bytes beyond ASCII make characters in UTF-8."""
    text = data[:_SAMPLE_BYTES].decode("utf-8", "replace")
    wrong = text.count("\ufffd")
    beyond = sum(sign > "\x7f" for sign in text)
    if wrong == 0:  # the wrong bytes are after the sample
        text = data.decode("utf-8", "replace")
        wrong, beyond = text.count("\ufffd"), sum(sign > "\x7f" for sign in text)
    return wrong <= 1 + (beyond - wrong) * _MAX_WRONG_SHARE and beyond > wrong


def _guess(data: bytes) -> str:
    # Imported here: only few texts need it.
    from charset_normalizer import from_bytes

    # Up to a character that is whole: spaces are in all of these encodings.
    sample = data[:_SAMPLE_BYTES]
    if len(data) > len(sample):
        sample = sample[: max(sample.rfind(b" "), sample.rfind(b"\n"), sample.rfind(b"<")) + 1]
    found = from_bytes(
        sample or data[:_SAMPLE_BYTES], cp_isolation=list(_GUESSED), preemptive_behaviour=False
    )
    best = found.best()
    if best is None:
        return "windows-1252"
    names = {best.encoding, *best.could_be_from_charset}
    return _european(sample) if names & {"cp1252", "cp1250", "iso8859_2"} else best.encoding


def _european(sample: bytes) -> str:
    """Choose between the encodings of Western and Central Europe, which differ in few letters."""
    western = _coverage(sample, "cp1252", _WESTERN)
    central, name = max(
        (_coverage(sample, name, _CENTRAL), name) for name in ("iso8859_2", "cp1250")
    )
    return name if central > western + _MIN_LEAD else "cp1252"


def _coverage(sample: bytes, name: str, alphabets: tuple[str, ...]) -> float:
    """Return the largest share of the signs beyond ASCII that are letters of one language."""
    counts = Counter(sign for sign in sample.decode(name, "replace").lower() if sign > "\x7f")
    for sign in _PUNCTUATION:
        counts.pop(sign, None)
    covered = max(sum(counts[letter] for letter in alphabet) for alphabet in alphabets)
    return covered / max(1, counts.total())
