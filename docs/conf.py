"""Sphinx builds the documentation with this: ``make docs``."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

from pfserver import __version__

# Imported for the reference; it tells that it was loaded.
logging.getLogger("pikepdf").setLevel(logging.WARNING)

project = "pfserver"
author = "The pfserver developers"
copyright = author
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "pfserver_reference"]
exclude_patterns = ["_build", "_ext", "news"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}

myst_enable_extensions = ["deflist", "fieldlist"]
myst_heading_anchors = 3
# The console blocks show prompts and output, which the tests in tests/docs compare with what really happens.
highlight_language = "none"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"

html_theme = "furo"
html_title = "pfserver"
html_show_sourcelink = False
