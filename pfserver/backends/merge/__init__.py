"""The merge backend: variable-data documents from a project's template, rules and records.

:mod:`plugin <pfserver.backends.merge.plugin>` takes and checks jobs; :mod:`production
<pfserver.backends.merge.production>` takes one through its chunks; :mod:`worker <pfserver.backends.merge.worker>` is
what runs in worker processes; :mod:`pdf <pfserver.backends.merge.pdf>` and :mod:`join <pfserver.backends.merge.join>`
split and join what Typst writes.
"""

from pfserver.backends.merge.plugin import MergeBackendPlugin

__all__ = ["MergeBackendPlugin"]
