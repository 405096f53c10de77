"""A reader of an archive that arrives in pieces: it finds where each document ends.

It checks headers, their order and the records, but not chunks and vectors.
"""

from __future__ import annotations

from deployments.archives.headers import BLOCK_BYTES, Member, bad_archive, decode
from deployments.archives.layout import Layout

_MAX_ZERO_BLOCKS = 20  # other programs fill the last record of a tar file up


class Scanner:
    """Takes the bytes of an archive in order.

    The first `whole_bytes` of them end with a whole document, or with the manifest; they have
    `whole_documents`, the last of which is `whole_id`.
    """

    def __init__(self, layout: Layout | None = None) -> None:
        self.layout = layout or Layout()
        self.whole_bytes = 0
        self.whole_documents = 0
        self.whole_id = ""
        self.ended = False
        self._read_bytes = 0
        self._waiting = bytearray()
        self._skipped = 0  # bytes of a member that are still to come
        self._record: Member | None = None
        self._parts = 0  # of the document, still to come
        self._zero_blocks = 0

    def feed(self, data: bytes) -> None:
        """Read some bytes; raise Unprocessable for what cannot be imported."""
        view = memoryview(data)
        while view:
            if self._skipped:
                count = min(self._skipped, len(view))
                self._skipped -= count
            else:
                count = min(self._missing(), len(view))
                self._waiting += view[:count]
            view = view[count:]
            self._read_bytes += count
            if not self._skipped and not self._missing():
                self._take()
            if not (self._skipped or self._parts or self._waiting or self._record):
                self._note_whole()

    def _note_whole(self) -> None:
        """Note that what was read ends with a whole document, unless it is at the end."""
        if self.layout.end is None:
            self.whole_bytes = self._read_bytes
            self.whole_documents = self.layout.documents
            self.whole_id = self.layout.last_id

    def go_on(self) -> Scanner:
        """Return a scanner that goes on behind the last whole document."""
        layout = Layout(self.layout.manifest, self.whole_documents, self.whole_id)
        scanner = Scanner(layout)
        scanner._read_bytes = scanner.whole_bytes = self.whole_bytes
        scanner.whole_documents, scanner.whole_id = self.whole_documents, self.whole_id
        return scanner

    def finish(self) -> None:
        """Raise Unprocessable if the archive is not whole."""
        if not self.ended or self._zero_blocks < 2 or self._waiting:  # noqa: PLR2004 - as tar has it
            msg = "it is not whole: it ends too early"
            raise bad_archive(msg)

    def _missing(self) -> int:
        wanted = BLOCK_BYTES
        if self._record is not None:
            wanted = self._record.size_bytes + self._record.padding_bytes
        return wanted - len(self._waiting)

    def _take(self) -> None:
        """Take the header or the record that is complete now."""
        data = bytes(self._waiting)
        if not data and self._record is None:
            return
        self._waiting.clear()
        if self._record is not None:
            record = self.layout.read(data[: self._record.size_bytes])
            self._record = None
            if record is not None:
                self._parts = 1 + (record.vectors is not None) + (record.content is not None)
            return
        if self.ended:
            check_zeros(data)
        member = decode(data)
        is_record = self.layout.check(member)
        if member is None:
            self.ended = True
            self._zero_blocks += 1
            if self._zero_blocks > _MAX_ZERO_BLOCKS:
                msg = "something follows its end"
                raise bad_archive(msg)
        elif is_record:
            self._record = member
        else:
            self._parts -= 1
            self._skipped = member.size_bytes + member.padding_bytes


def check_zeros(data: bytes) -> None:
    """Raise Unprocessable unless these bytes, which mean nothing, are zeros."""
    if any(data):
        msg = "something follows its end"
        raise bad_archive(msg)
