"""The mumps backend: jobs are M routines, run by fis-gtm where it is installed.

:mod:`.program` says what is run for a job and writes it as a small M routine of its own; :mod:`.process` is the process
group that runs it; :mod:`.backend` takes a job through both; :mod:`.plugin` has the options.
"""

from pfserver.backends.mumps.plugin import MumpsBackendPlugin

__all__ = ["MumpsBackendPlugin"]
