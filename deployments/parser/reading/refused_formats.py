"""Formats that are not read, and what a person can do about each."""

from __future__ import annotations

from typing import Final

MAGIC: Final = (
    (b"GIF8", "a GIF image, which is not read: save it as PNG"),
    (b"RIFF", "an image, a sound or a film"),
    (b"ID3", "a sound"),
    (b"OggS", "a sound or a film"),
    (b"fLaC", "a sound"),
    (b"\x1aE\xdf\xa3", "a film"),
    (b"\x1f\x8b", "a compressed file, which is not read: unpack it, or make it a ZIP file"),
    (b"BZh", "a compressed file, which is not read: unpack it, or make it a ZIP file"),
    (b"7z\xbc\xaf", "a 7z archive, which is not read: make it a ZIP file"),
    (b"Rar!\x1a\x07", "a RAR archive, which is not read: make it a ZIP file"),
    (b"\xfd7zXZ", "a compressed file, which is not read: unpack it, or make it a ZIP file"),
    (b"\x28\xb5\x2f\xfd", "a compressed file, which is not read: unpack it, or make it a ZIP file"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90\x00", "a program"),
    (b"%!PS", "a PostScript file, which is not read: save it as PDF"),
    (b"AT&TFORM", "a DjVu file, which is not read: save it as PDF"),
    (b"ITSF", "a Windows help file, which is not read: save it as HTML"),
    (b"!BDN", "an Outlook mail store, which is not read: save its mails as EML or MSG"),
    (b"SQLite format 3\x00", "a database, which is not read: export its tables as CSV"),
    (b"PAR1", "a Parquet file, which is not read: export it as CSV"),
    (b"-----BEGIN PGP MESSAGE", "an encrypted message"),
    (b"\xffWPC", "a WordPerfect document, which is not read: save it as DOCX"),
)
"""What a file looks like that begins with these bytes, some with advice."""

OLD_OFFICE: Final = (
    ("WordDocument", "DOC is not read: save it as DOCX."),
    ("PowerPoint Document", "PPT is not read: save it as PPTX."),
    ("VisioDocument", "VSD is not read: save it as PDF."),
    ("Quill", "PUB is not read: save it as PDF."),
)
"""Streams of old Office documents."""

PACKAGES: Final = (
    (b"Index/Document.iwa", "Pages, Numbers and Keynote files are not read: export them as PDF."),
    (b"Index.zip", "Pages, Numbers and Keynote files are not read: export them as PDF."),
    (b"visio/", "VSDX is not read: save it as PDF."),
    (b"FixedDocSeq.fdseq", "XPS is not read: save it as PDF."),
    (b"FixedDocumentSequence.fdseq", "XPS is not read: save it as PDF."),
    (b"AndroidManifest.xml", "This is an Android program, which is not read."),
    (b"META-INF/MANIFEST.MF", "This is a Java program, which is not read."),
)
"""Members of ZIP files that are documents or programs of other kinds."""

REFUSED_SUFFIXES: Final = {
    ".doc": "DOC is not read: save it as DOCX.",
    ".dot": "DOT is not read: save it as DOCX.",
    ".ppt": "PPT is not read: save it as PPTX.",
    ".pps": "PPS is not read: save it as PPTX.",
    ".vsd": "VSD is not read: save it as PDF.",
    ".pub": "PUB is not read: save it as PDF.",
    ".mobi": "MOBI is not read: save it as EPUB.",
    ".azw3": "AZW3 is not read: save it as EPUB.",
    ".mbox": "MBOX is not read: save its mails as EML files, in a ZIP file if there are many.",
    ".one": "ONE is not read: save it as PDF or DOCX.",
    ".tar": "TAR is not read: make it a ZIP file.",
}
"""What to do with files that are recognised by their names."""
