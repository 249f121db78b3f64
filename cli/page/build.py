"""The report's page as one file: the template with its style, scripts and data in it, and nothing to fetch.

Data is JSON in elements that no browser executes; `<` is escaped, so that no text can end its element. What is large is
compressed and unpacked by the page when it is looked at. The page's own policy forbids every request and every script
but the ones put in here, by their hashes. Left out: what the data is (`trees.py` and its neighbours).
"""

import base64
import gzip
import hashlib
import html
import json
import math
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

# In the order in which they need one another.
VENDOR = ("d3.min.js", "plot.umd.min.js")
SCRIPTS = (
    "dom.js", "data.js", "charts.js", "overview.js", "scores.js", "fragments.js", "training.js", "cost.js", "sample.js",
    "tree.js", "explorer.js", "pairs.js", "main.js",
)  # fmt: skip
STYLES = ("theme.css", "layout.css", "explorer.css", "pairs.css", "fragments.css")
LICENCES = ("d3.LICENSE", "plot.LICENSE")


def page(title: str, data: Mapping[str, Any], packed: Mapping[str, Any]) -> str:
    """Put a page together.

    Args:
        title: the page's.
        data: JSON values that are read at once, by the ids of their elements.
        packed: JSON values that are unpacked when they are needed, by the ids of their elements.
    """
    vendor = [_text("vendor", name) for name in VENDOR]
    # One script, so that its files share their names with one another and with nothing else.
    own = "(() => {\n'use strict';\n" + "\n".join(_text("static", name) for name in SCRIPTS) + "\n})();"
    scripts = [f"\n{code}\n" for code in (*vendor, own)]
    hashes = " ".join(f"'sha256-{_sha256(code)}'" for code in scripts)
    parts = {
        "{{title}}": html.escape(title),
        "{{policy}}": f"default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'unsafe-inline'; "
        f"script-src {hashes}",
        "{{licences}}": "\n\n".join(_text("vendor", name) for name in LICENCES),
        "{{style}}": "\n".join(_text("static", name) for name in STYLES),
        "{{data}}": "\n".join(
            [_element("application/json", name, _json(value)) for name, value in data.items()]
            + [_element("application/gzip", name, _pack(value)) for name, value in packed.items()]
        ),
        "{{scripts}}": "\n".join(f"<script>{code}</script>" for code in scripts),
    }
    # Split, then joined: nothing in a text that is put in is taken for a place.
    pieces = re.split(r"(\{\{\w+\}\})", _text("static", "page.html"))
    return "".join(parts.get(piece, piece) for piece in pieces)


def _text(folder: str, name: str) -> str:
    return (files("itool_cli.page") / folder / name).read_text(encoding="utf-8")


def _element(kind: str, name: str, content: str) -> str:
    return f'<script type="{kind}" id="{name}">{content}</script>'


def _json(value: Any) -> str:
    text = json.dumps(_finite(value), ensure_ascii=False, separators=(",", ":"))
    # A lone surrogate, which a damaged data set can hold, has no UTF-8 form.
    return text.encode("utf-8", "replace").decode("utf-8").replace("<", "\\u003c")


def _pack(value: Any) -> str:
    return base64.b64encode(gzip.compress(_json(value).encode("utf-8"), mtime=0)).decode("ascii")


def _finite(value: Any) -> Any:
    """JSON has no infinity and no NaN: they become null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return value


def _sha256(code: str) -> str:
    return base64.b64encode(hashlib.sha256(code.encode("utf-8")).digest()).decode("ascii")
