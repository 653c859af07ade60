"""Where records come from, one module a kind; each provides ``IDataSourcePlugin`` and reads lazily, in a thread."""

from pfserver.projects.sources.delimited import DelimitedSource
from pfserver.projects.sources.documents import JsonLinesSource, JsonSource
from pfserver.projects.sources.sql import SqlSource

__all__ = ["DelimitedSource", "JsonLinesSource", "JsonSource", "SqlSource"]
