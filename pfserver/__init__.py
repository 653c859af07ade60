"""pfserver: one durable job server for document production that speaks three protocols already in the field.

Start reading at :mod:`pfserver.interfaces` (the contracts between the rooms) and :mod:`pfserver.model` (the values that
flow between them); :mod:`pfserver.tap` wires everything together.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("pfserver")
except PackageNotFoundError:  # run from a checkout that was never installed
    __version__ = "0+unknown"
