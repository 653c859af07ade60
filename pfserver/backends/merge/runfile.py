"""A file of many documents that is being collected, until it is full and joined."""

from __future__ import annotations

from pfserver.backends.merge.join import Bookmark
from pfserver.backends.merge.worker import Document, Produced


class RunFile:
    """What is to be joined, in its order, and the bookmarks of it.

    :param name: of the file, e.g. ``001.pdf``.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.parts: list[str] = []
        self.bookmarks: list[Bookmark] = []
        self.pages = 0
        self.documents = 0

    def add(self, produced: Produced) -> None:
        """Append what a chunk has given."""
        self.parts += produced.parts
        self.documents += len(produced.documents)
        for document in produced.documents:
            self._add_bookmark(document)

    def _add_bookmark(self, document: Document) -> None:
        if document.pages:
            self.bookmarks.append(Bookmark(document.title, self.pages))
        self.pages += document.pages
