"""One HTML file with style, scripts, libraries and data inside: it opens without a network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Final

_PAGE: Final = Path(__file__).with_name("page")
_POLICY: Final = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; form-action 'none'; base-uri 'none'"
)
"""What a browser lets the page do: run what is inside it, and load nothing from anywhere."""


def self_contained(
    title: str,
    data: Mapping[str, object],
    *,
    body: str,
    scripts: Sequence[str],
    libraries: Sequence[str] = (),
) -> str:
    """Return a whole HTML page.

    Args:
        title: Of the window.
        data: What the scripts find as JSON in the element ``data``.
        body: Name of the HTML in the folder ``page`` that the scripts fill.
        scripts: Names of scripts in that folder, run in this order.
        libraries: Names of scripts there that run after those, plotly.js among them anyway: what
            people read is on the screen before a browser has gone through the megabytes.
    """
    # In JSON a slash may be escaped, and then no text in it ends the element early.
    embedded = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    embedded = embedded.replace("</", "<\\/").replace("<!--", "<\\u0021--")
    parts = [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{escape(title)}</title>",
        f"<style>{_read('style.css')}</style>",
        "</head>",
        "<body>",
        _read(body),
        f'<script type="application/json" id="data">{embedded}</script>',
        *(f"<script>{_read(name)}</script>" for name in (*scripts, *libraries)),
        f"<script>{_plotly()}</script>",
        "</body>",
        "</html>",
    ]
    return "\n".join(parts) + "\n"


def _read(name: str) -> str:
    return (_PAGE / name).read_text(encoding="utf-8")


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())
