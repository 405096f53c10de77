"""Small files that version 0.1.0 read wrongly: texts, tables, mails, notebooks and Markdown."""

from __future__ import annotations

import base64
import json
import unicodedata

import pytest

from deployments.errors import InvalidRequest, Unprocessable, UnsupportedMedia
from deployments.parser.reading.content import Content
from deployments.parser.reading.formats import decode, detect
from deployments.parser.reading.readers import reader_of, whole_file
from deployments.retriever.bm25 import LexicalEncoder
from deployments.retriever.embedding import read_as
from deployments.text import decoding
from deployments.text.decoding import decode_text
from deployments.text.sentences import sentences
from serve_app.documents.file_checks import check_format
from tests.support.archives import zip_file
from tests.support.hostile_documents import compound_file
from tests.support.paths import ROOT

CASES = ROOT / "tests" / "support" / "cases"


def read(name: str, data: bytes | None = None) -> Content:
    content = (CASES / name).read_bytes() if data is None else data
    return reader_of(detect(content, name), whole_file(10))(content, name, max_chars=100_000)


def test_rows_stay_lines_below_the_name_of_the_file() -> None:
    content = read("csv_rows_joined.csv")
    lines = content.text.split("\n")
    assert lines[1] == (
        "name: Shop 0; town: Gerlin on the Ondre; street: Old Mill Street 0; "
        "hours: open from nine to five; note: closed on Monday"
    )
    assert len(lines) == len((CASES / "csv_rows_joined.csv").read_text().splitlines())
    assert content.title == "csv_rows_joined"


def test_rows_in_a_text_stay_lines() -> None:
    source = (CASES / "csv_rows_joined.csv").read_text()
    content = read("rows.txt", source.encode())
    assert content.text.strip() == source.strip()
    assert content.title == "rows"


def test_encodings() -> None:
    assert read("text_cp1251.txt").text.startswith("Мост через")
    broken = read("text_utf8_one_bad_byte.txt").text
    assert broken.count("\ufffd") == 1
    assert broken.count("Brücke") > 3


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1250", "Zażółć gęślą jaźń. Most na rzece ma długość trzystu metrów."),
        ("iso8859-2", "Příliš žluťoučký kůň úpěl ďábelské ódy. Most přes řeku je dlouhý."),
        ("cp1252", "Die Brücke über die Öndre ist 340 Meter lang und für Fußgänger geöffnet."),
        ("koi8-r", "Мост через Ондру построен в 1931 году. Его длина триста сорок метров."),
        ("cp1253", "Η γέφυρα πάνω από τον ποταμό έχει μήκος τριακόσια μέτρα."),
        ("cp1256", "طول الجسر ثلاثمائة وأربعون مترا وقد افتتح في شهر مايو الماضي."),
        ("shift_jis", "この橋の長さは三百四十メートルです。五月に開通しました。"),
        ("gb18030", "这座桥的长度是三百四十米，于五月开放通行。"),
        ("euc_kr", "이 다리의 길이는 삼백사십 미터이며 오월에 개통되었다."),
        ("iso2022_jp", "この橋の長さは三百四十メートルです。"),
        ("utf-16-le", "这座桥的长度是三百四十米。\n于五月开放通行。"),
        ("utf-16-be", "Мост через Ондру построен в 1931 году."),
    ],
)
def test_a_text_in_an_old_encoding_is_recognised(encoding: str, text: str) -> None:
    assert decode(text.encode(encoding)) == text


@pytest.mark.parametrize("encoding", ["cp037", "cp500", "utf-32-le", "utf-32-be"])
def test_an_encoding_that_cannot_be_read_is_refused(encoding: str) -> None:
    text = "The bridge is 340 metres long, and open to all who walk. " * 5
    with pytest.raises(UnsupportedMedia, match="not a text file"):
        decode(text.encode(encoding))
    with pytest.raises(UnsupportedMedia, match="not a text file"):
        check_format((text * 300).encode(encoding)[:65_536], 1_000_000, "a.txt")


def test_the_encoding_of_a_beginning_is_not_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_guess", lambda _: pytest.fail("it was guessed"))
    text = "Мост через Ондру построен в 1931 году.\n" * 4000
    check_format(text.encode("cp866")[:65_536], 1_000_000, "a.txt")
    check_format(f"<html>{text}".encode("koi8-r")[:65_536], 1_000_000, "a.html")


def test_a_declared_encoding_goes_before_a_guess() -> None:
    text = "Cây cầu này dài"
    assert decode_text(text.encode("utf-8"), "windows-1252") != text
    assert decode_text("長い橋".encode("shift_jis"), "shift_jis") == "長い橋"
    assert decode_text("長い橋".encode("shift_jis") + b"\xff", "shift_jis").startswith("長い橋")
    assert decode_text(text.encode(), "punycode") == text


def test_words_are_found_in_any_normal_form() -> None:
    shown = read("text_nfd.txt").text
    assert not unicodedata.is_normalized("NFC", shown)  # the original is shown
    lexical = LexicalEncoder()
    composed = unicodedata.normalize("NFC", shown)
    assert lexical.passage(shown) == lexical.passage(composed)
    assert set(lexical.query("Öndre").indices) <= set(lexical.passage(shown).indices)
    assert lexical.query("\ufb01lter ＡＢＣ") == lexical.query("filter ABC")
    assert read_as("", "", shown) == composed


def test_a_mail_is_decoded() -> None:
    content = read("mail_base64.eml")
    assert content.title == "Lieferung der Lampe für Müller"
    assert "Die Lampe für Herrn Müller wird am 12. Mai geliefert, Preis 47 Gulden." in content.text
    assert "RGll" not in content.text


def test_what_is_not_read_of_a_mail_is_said() -> None:
    picture = base64.b64encode(b"\x89PNG\r\n" * 20).decode()
    mail = (
        "From: a\nSubject: s\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=B\n\n"
        "--B\n\nSee below.\n--B\nContent-Type: image/png\nContent-Disposition: attachment; "
        f"filename=lamp.png\nContent-Transfer-Encoding: base64\n\n{picture}\n--B--\n"
    )
    (warning,) = read("a.eml", mail.encode()).warnings
    assert warning.code == "attachments_not_read"
    assert warning.message == "1 of 1 attachments were not read: lamp.png."


def test_a_notebook_is_the_text_of_its_cells() -> None:
    content = read("notebook_png.ipynb")
    assert content.title == "Lamp study"
    assert "We measure the flicker of lamps." in content.text
    assert "iVBOR" not in content.text


def test_printed_outputs_of_a_notebook_are_read_within_bounds() -> None:
    picture = base64.b64encode(bytes(range(256)) * 9).decode()
    outputs: list[dict[str, object]] = [
        {"output_type": "stream", "text": ["\x1b[31m47 watts\x1b[0m\n", "48 watts"]},
        {"data": {"text/html": "<b>bold</b>", "text/plain": "Gerlin"}},
        {"data": {"image/png": picture, "text/plain": "<Figure size 640x480 with 1 Axes>"}},
        {"output_type": "stream", "text": picture},
    ]
    long: list[dict[str, object]] = [{"text": "words " * 999}] * 40
    cells = [{"cell_type": "code", "source": "show()", "outputs": outputs + long}]
    text = read("a.ipynb", json.dumps({"cells": cells}).encode()).text
    shown = "show()\n\n47 watts\n48 watts\n\nGerlin\n\n"
    assert text.startswith(shown + "words")
    assert 45_000 < len(text) < 50_200


@pytest.mark.parametrize(
    ("cues", "shown"),
    [
        (["I do not know", "no"], "[00:01] I do not know no"),
        (["so today", "so today\nwe go", "we go", "we go\nhome."], "[00:01] so today we go home."),
    ],
)
def test_only_rolling_captions_are_left_out(cues: list[str], shown: str) -> None:
    source = "\n\n".join(f"00:0{n}.000 --> 00:0{n}.900\n{cue}" for n, cue in enumerate(cues, 1))
    assert read("a.vtt", f"WEBVTT\n\n{source}\n".encode()).text == shown


@pytest.mark.parametrize(
    ("kind", "is_plain_read"), [("mixed", True), ("related", True), ("alternative", False)]
)
def test_only_alternatives_of_a_mail_are_compared(kind: str, *, is_plain_read: bool) -> None:
    page = "<p>" + "The bridge is open. " * 20 + "</p>"
    mail = (
        f"From: a\nSubject: s\nMIME-Version: 1.0\nContent-Type: multipart/{kind}; boundary=B\n\n"
        f"--B\nContent-Type: text/html\n\n{page}\n--B\n\nA footer.\n--B--\n"
    )
    text = read("a.eml", mail.encode()).text
    assert "The bridge is open." in text
    assert ("A footer." in text) is is_plain_read


def test_a_saved_page_is_titled_by_its_subject_and_its_frames_are_counted() -> None:
    title = "<title>lamps.docx</title>"
    part = f"--B\nContent-Type: text/html\n\n{title}<p>The lamps of Gerlin need 47 watts.</p>\n"
    head = "Subject: Lamps\nMIME-Version: 1.0\nContent-Type: multipart/related; boundary=B\n\n"
    content = read("a.mhtml", f"{head}{part * 3}--B--\n".encode())
    assert content.title == "Lamps"
    (warning,) = content.warnings
    assert warning.code == "partly_read"
    assert warning.message == "2 frames of this page were not read."


def test_pictures_written_as_text_are_left_out() -> None:
    picture = base64.b64encode(bytes(range(256)) * 9).decode()
    markdown = f"See ![a](data:image/png;base64,{picture}) here."
    book = json.dumps({"cells": [{"cell_type": "markdown", "source": markdown}]}).encode()
    assert read("a.ipynb", book).text == "See ![a](data:) here."
    assert read("a.md", markdown.encode()).text == "See ![a](data:) here."
    value = json.dumps({"name": "a", "png": picture, "url": f"data:image/png;base64,{picture}"})
    assert read("a.json", value.encode()).text == "name: a\npng: (binary data)\nurl: data:"


def test_markdown_is_named_by_its_front_matter_or_heading() -> None:
    assert read("md_code_first.md").title == "Lamp manual"
    assert read("a.md", b'---\ntitle: "Lamps"\n---\n\n# Manual\n').title == "Lamps"
    assert read("a.md", b"~~~~\n# no\n~~~\n# no\n~~~~\n\nLamp manual\n===\n").title == "Lamp manual"
    assert read("a.md", b'+++\ntitle = "Lamps"\n+++\n\n# Manual\n').title == "Lamps"
    assert (
        read("a.md", b'<h1 align="center"><b>Lamp</b> manual</h1>\n\nWords').title == "Lamp manual"
    )
    assert read("a.md", b"# [Lamp manual](http://a/b) ![x](y.svg)\n").title == "Lamp manual"
    assert read("notes.md", b"#hashtag\n\n    # code\n").title == "notes"


@pytest.mark.parametrize(
    "text",
    [
        "".join(
            f"2026-05-12 10:0{n}:00 the pump of the old mill has started at last\n"
            for n in range(9)
        ),
        "".join(
            f"kernel: the pump number {n} of the old mill has started at last\n" for n in range(9)
        ),
        (
            "Shall I compare thee to a summer's day?\nThou art more lovely and more temperate:\n"
            "Rough winds do shake the darling buds of May,\nAnd summer's lease hath all too short "
            "a date:\n"
        ),
        "".join(
            f"- the lamp number {n} of the old mill is made of brass and glass\n" for n in range(9)
        ),
    ],
    ids=["log", "lower-case log", "verse", "list"],
)
def test_lines_stay_lines(text: str) -> None:
    assert read("a.txt", text.encode()).text == text


@pytest.mark.parametrize(
    "parts",
    [
        ["これは橋です。", "長いですか？", "はい！"],
        ["यह पुल है।", "यह लंबा है॥", "हाँ।"],
        ["هل هو طويل؟", "نعم.", "شكرا."],
        ["Սա կամուրջ է։", "Այո։"],
        ["ይህ ድልድይ ነው።", "ረጅም ነው፧", "አዎ።"],
        ["នេះជាស្ពាន។", "វាវែង។"],
        ["ဒါက တံတားပါ။", "ရှည်တယ်။"],
        ["Τι είναι αυτό;", "Μια γέφυρα."],
        ["یہ پل ہے۔", "لمبا ہے۔"],
        ["สะพานนี้ยาวมาก", "สร้างเมื่อปี 1990 ในเมือง"],
        ["桥很长；", "它是旧的．", "真的吗？"],
        ["This is a bridge.", "Is it long?"],
    ],
    ids=["ja", "hi", "ar", "hy", "am", "km", "my", "el", "ur", "th", "zh", "en"],
)
def test_sentences_end_in_every_script(parts: list[str]) -> None:
    text = " ".join(parts)
    assert [text[start:end] for start, end in sentences(text)] == parts


@pytest.mark.parametrize(
    ("name", "data", "advice"),
    [
        ("a.doc", compound_file(("WordDocument",)), "DOC is not read: save it as DOCX."),
        ("a.ppt", compound_file(("PowerPoint Document",)), "PPT is not read: save it as PPTX."),
        ("a", compound_file(("WordDocument",)), "DOC is not read: save it as DOCX."),
        ("a.pages", zip_file({"Index/Document.iwa": "x"}), "export them as PDF"),
        ("a.xps", zip_file({"FixedDocSeq.fdseq": "x"}), "XPS is not read: save it as PDF."),
        ("a.tar.gz", b"\x1f\x8b\x08", "make it a ZIP file"),
        ("a.docx", b"only words", "not a DOCX file"),
        ("a.mbox", b"From a\n\nwords", "MBOX is not read"),
    ],
)
def test_what_is_not_read_says_what_to_do(name: str, data: bytes, advice: str) -> None:
    with pytest.raises(UnsupportedMedia, match=advice):
        detect(data, name)


def test_a_document_with_a_password_is_refused_by_its_beginning() -> None:
    with pytest.raises(Unprocessable, match="password") as caught:
        detect(compound_file(("EncryptedPackage",)), "a.docx")
    assert caught.value.code == "encrypted_document"


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        (
            "noname",
            zip_file({"[Content_Types].xml": "", "word/document.xml": ""}),
            "wordprocessingml",
        ),
        ("a.zip", zip_file({"[Content_Types].xml": "", "ppt/a.xml": ""}), "presentationml"),
        ("a.xls", b"<html><table><tr><td>1", "text/html"),
        ("a.xls", b"Name\tTown\nAnn\tGerlin\n", "tab-separated"),
        ("a.doc", b"{\\rtf1 a}", "rtf"),
        ("noname", b"From: a\nDate: b\nMIME-Version: 1.0\n\nwords", "rfc822"),
        ("letter.txt", b"From: Ann\nTo: Bob\n\nDear Bob", "text/plain"),
        ("noname", b"WEBVTT\n\n", "subrip"),
        ("noname", zip_file({"mimetype": "application/epub+zip", "a": "b"}), "epub"),
    ],
)
def test_content_and_name_decide(name: str, data: bytes, kind: str) -> None:
    try:
        assert kind in detect(data, name)
    except InvalidRequest as error:
        pytest.fail(error.message)
