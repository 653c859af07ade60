"""The API for people, made from the table of methods."""

from __future__ import annotations

from html import escape

from pfserver.frontends.http.methods import Method, Registry

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }}
pre, code {{ font: 14px/1.4 ui-monospace, monospace; }}
pre {{ white-space: pre-wrap; background: #f4f4f4; padding: 1rem; }}
dt {{ margin-top: 1rem; }}
</style></head><body><h1>{title}</h1>
{body}
</body></html>
"""


def index_page(registry: Registry) -> str:
    """All methods."""
    items = "\n".join(
        f'<dt><a href="/xmlrpc/{escape(method.name)}"><code>{escape(method.name)}</code></a></dt>'
        f"<dd>{escape(method.help.partition(chr(10))[0])}</dd>"
        for method in registry.methods
    )
    text = "<p>POST an XML-RPC call to <code>/xmlrpc</code>. Errors are faults; documents are base64.</p>"
    return _PAGE.format(title="The XML-RPC API", body=f"{text}\n<dl>\n{items}\n</dl>")


def method_page(method: Method) -> str:
    """One method."""
    result, *params = method.signature
    signature = f"{result} {method.name}({', '.join(params)})"
    body = (
        f'<p><a href="/xmlrpc">All methods</a></p>\n<pre>{escape(signature)}</pre>\n<pre>{escape(method.help)}</pre>\n'
        "<p>A <code>document</code> is base64 text in a string or in base64.</p>"
    )
    return _PAGE.format(title=escape(method.name), body=body)
