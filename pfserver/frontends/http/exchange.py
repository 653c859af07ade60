"""A call that comes in: its bytes are parsed as they arrive, its document goes to a file."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from twisted.logger import Logger

from pfserver.documents.uploads import Uploads
from pfserver.errors import StoreUnavailable
from pfserver.wire.xmlrpc import INTERNAL, NOT_A_CALL, Call, Code, DocumentPath, Fault, Limits, Reader


class Upload:
    """A document on its way into a file; a sink for the reader."""

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads
        self.name, self.path = uploads.create()
        self.size = 0
        self._digest = sha256()
        self._file: BinaryIO | None = self.path.open("xb", buffering=0)

    def write(self, data: bytes) -> None:
        """See ``Sink``."""
        assert self._file is not None
        left = memoryview(data)
        while left:
            # A disk that becomes full takes a part first, and refuses the next byte.
            left = left[self._file.write(left) :]
        self._digest.update(data)
        self.size += len(data)

    @property
    def sha256(self) -> str:
        """The digest of what was written, hexadecimal."""
        return self._digest.hexdigest()

    def close(self) -> None:
        """The document is complete."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def settle(self) -> None:
        """Put the file where jobs find it, on the disk for good. Raises ``StoreUnavailable``; blocks."""
        try:
            self.path = self._uploads.settle(self.name)
        except OSError as error:
            raise StoreUnavailable("the document could not be stored; try again later") from error

    def discard(self) -> None:
        """Remove the file, unless somebody has moved it away."""
        self.close()
        self.path.unlink(missing_ok=True)


class Exchange:
    """The body of a request, in the place of the file that twisted.web would keep it in.

    :param expect: called with a method's name before a document of it is taken, and again when it is known who calls;
        raises ``Fault`` where the caller has no right to it.
    :param refuse: called at once with the fault of a call that cannot be accepted; nothing more is read then.
    """

    log = Logger()

    def __init__(
        self,
        documents: frozenset[DocumentPath],
        uploads: Uploads,
        limits: Limits,
        length: int | None,
        expect: Callable[[str], None],
        refuse: Callable[[Fault], None],
    ) -> None:
        self.uploads: list[Upload] = []
        self._store = uploads
        self._limits = limits
        self._expect = expect
        self._refuse = refuse
        self._reader = Reader(documents, self._open, limits)
        self._received = 0
        self._refused = False
        self._working = False
        if length is not None and length > limits.body:
            self.fail(Fault(Code.TOO_LARGE, f"the request is larger than {limits.body} bytes"))

    def _open(self) -> Upload:
        self._expect(self._reader.method)
        upload = Upload(self._store)
        self.uploads.append(upload)
        return upload

    def identified(self) -> None:
        """Who calls is known now: a document that had begun before is refused where it must be."""
        try:
            if self.uploads:
                self._expect(self._reader.method)
        except Fault as fault:
            self.fail(fault)

    def call(self) -> Call:
        """What the complete request says; its uploads stay until :meth:`done`. Raises ``Fault``."""
        try:
            message = self._reader.close()
        except OSError as error:
            # The parser keeps the last bytes back until it knows that they are the last.
            raise self._not_written() from error
        for upload in self.uploads:
            upload.close()
        if not isinstance(message, Call):
            raise Fault(NOT_A_CALL, "a response is no call")
        self._working = True
        return message

    def done(self) -> None:
        """The call was carried out."""
        self._working = False
        self.close()

    def keep(self, upload: Upload) -> None:
        """Leave the file of an upload where it is: a job needs it."""
        self.uploads.remove(upload)

    def fail(self, fault: Fault) -> None:
        """Answer with a fault now, whatever is still to come."""
        if not self._refused:
            self._refused = True
            self.close()
            self._refuse(fault)

    # -- what twisted.web does with a request's content --------

    def write(self, data: bytes) -> None:
        """More of the body."""
        if self._refused:
            return
        self._received += len(data)
        try:
            if self._received > self._limits.body:
                raise Fault(Code.TOO_LARGE, f"the request is larger than {self._limits.body} bytes")
            self._reader.feed(data)
        except Fault as fault:
            self.fail(fault)
        except OSError:
            self.fail(self._not_written())

    def _not_written(self) -> Fault:
        self.log.failure("xmlrpc.upload-not-written")
        return Fault(INTERNAL, "the document could not be stored; try again later")

    def tell(self) -> int:
        """Nothing is kept."""
        return 0

    def seek(self, *_where: int) -> None:
        """Nothing is kept."""

    def read(self, *_size: int) -> bytes:
        """Nothing is kept."""
        return b""

    def close(self) -> None:
        """The request is over: remove what nobody wants. A call that is carried out goes on without its peer."""
        if self._working:
            return
        uploads, self.uploads = self.uploads, []
        for upload in uploads:
            upload.discard()


class FileSource:
    """A file as a source for the writer."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)
        self.size = path.stat().st_size

    def read(self, size: int) -> bytes:
        """See ``Source``."""
        return self._file.read(size)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
