"""M globals in LMDB, sorted as M collates: see :class:`pfserver.interfaces.IGlobals`.

:mod:`.collation` and :mod:`.keys` make keys that compare as M walks, :mod:`.nodes` keeps keys of any length in order,
:mod:`.view` reads and updates within one transaction, :mod:`.batch` is the transaction that several messages share,
:mod:`.journal` is on disk before the :mod:`.file` is, :mod:`.current` is the file with the batch in it, whatever fails,
and :class:`Globals` decides when what is written.
"""

from pfserver.store.globals.service import Globals

__all__ = ["Globals"]
