"""The API's description as a page that reads well without scripts; what it says comes from `openapi.py`."""

from __future__ import annotations

import json
import re
from functools import cache
from html import escape
from typing import Any, Final

from streamgauge.web.openapi import Schema, operations, schemas

CODE: Final = re.compile(r"`([^`]+)`")
STYLE: Final = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { max-width: 52rem; margin: 2rem auto; padding: 0 1rem; }
section { border-top: 1px solid color-mix(in srgb, currentColor 20%, transparent); padding: .5rem 0 1rem; }
code { font: .92em ui-monospace, monospace; }
h2 code { font-size: 1rem; }
h3 { font-size: 1rem; font-weight: 400; margin: .8rem 0 .2rem; }
td { padding: .15rem .8rem .15rem 0; vertical-align: top; }
pre { margin: .2rem 0 .6rem; padding: .4rem .6rem; white-space: pre-wrap; background: color-mix(in srgb, currentColor 6%, transparent); }
"""


@cache
def documentation_page() -> tuple[str, str]:
    """Give the page of the documentation, and its style."""
    sections = "".join(_section(path, method, operation) for path, method, operation in operations())
    page = (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>Streamgauge API</title><style>{STYLE}</style>"
        "<h1>Streamgauge API</h1><p>As a document for tools: <a href='openapi.json'>openapi.json</a>. "
        f"Errors are <code>application/problem+json</code> with a stable <code>code</code>.</p>{sections}"
    )
    return page, STYLE


def _section(path: str, method: str, operation: Schema) -> str:
    parameters = {
        p["name"]: p.get("description", "") for p in operation.get("parameters", ()) if p["in"] != "path"
    }
    answers = {code: answer["description"] for code, answer in operation["responses"].items()}
    about = f"{operation['summary']}. {operation.get('description', '')}"
    bodies = operation.get("requestBody", {}).get("content", {})
    parts = [
        f"<section><h2><code>{method.upper()} {escape(path)}</code></h2><p>{_text(about)}</p>",
        _table(parameters),
        *(_body(kind, content) for kind, content in bodies.items()),
        f"<h3>Answers</h3>{_table(answers)}</section>",
    ]
    return "".join(parts)


def _body(kind: str, content: Schema) -> str:
    """Show what a body of one media type has: its fields, and an example."""
    schema = _resolved(content["schema"])
    fields = {name: one.get("description", "") for name, one in schema.get("properties", {}).items()}
    described = _table(fields) if any(fields.values()) else ""
    more = f"<p>{_text(schema['description'])}</p>" if "description" in schema else ""
    return f"<h3>Body: <code>{escape(kind)}</code></h3>{described}{more}<pre><code>{_shown(content['example'])}</code></pre>"


def _resolved(schema: Schema) -> Schema:
    """Give the schema itself, or the first of those that it may be."""
    if "$ref" in schema:
        return schemas()[schema["$ref"].rsplit("/", 1)[1]]
    return _resolved(schema["oneOf"][0]) if "oneOf" in schema else schema


def _shown(example: Any) -> str:
    return escape(
        example if isinstance(example, str) else json.dumps(example, ensure_ascii=False), quote=False
    )


def _table(rows: dict[str, str]) -> str:
    lines = "".join(f"<tr><td><code>{escape(name)}</code><td>{_text(text)}" for name, text in rows.items())
    return f"<table>{lines}</table>" if lines else ""


def _text(text: str) -> str:
    """Write a text as HTML, what stands in backticks as code."""
    return CODE.sub(r"<code>\1</code>", escape(text, quote=False))
