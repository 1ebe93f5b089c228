"""The API's description as a page for people: plain HTML made from the OpenAPI document, no script, one style sheet.

It is a list to search with the browser's own search: every operation folds out to its parameters, body, answers and
the codes of its problems; schemas stand at the end and are linked.
"""

from collections.abc import Iterator
from html import escape
from typing import Any, Final

Json = dict[str, Any]

STYLE: Final = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 20%, transparent); }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 60rem; padding: 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; margin-top: 2rem; } h3 { font-size: 1rem; margin: 1rem 0 .25rem; }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1rem; list-style: none; padding: 0; }
nav a { display: inline-block; min-height: 2.75rem; line-height: 2.75rem; }
details { border: 1px solid var(--line); border-radius: .5rem; margin: .5rem 0; padding: 0 .75rem; }
details[open] { padding-bottom: .75rem; }
summary { cursor: pointer; min-height: 2.75rem; padding: .6rem 0; }
summary:focus-visible, a:focus-visible { outline: 3px solid Highlight; outline-offset: 2px; }
code { font: .9em/1.4 ui-monospace, monospace; }
.method { font-weight: 700; display: inline-block; min-width: 4rem; }
.about { display: block; opacity: .85; }
dl { margin: 0; } dt { font-weight: 600; margin-top: .4rem; } dd { margin: 0 0 0 1rem; }
"""


def _kind(schema: Json) -> str:
    """A schema in a few words of HTML."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#schema-{name}">{name}</a>'
    for word, joint in (("anyOf", " or "), ("oneOf", " or "), ("allOf", " with ")):
        if word in schema:
            return joint.join(_kind(part) for part in schema[word])
    if "enum" in schema:
        return "one of " + ", ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
    if "const" in schema:
        return f"<code>{escape(str(schema['const']))}</code>"
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {_kind(schema.get('items') or {})}"
    bounds = [
        f"{name} {escape(str(schema[name]))}"
        for name in ("format", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "pattern")
        if name in schema
    ]
    return escape(str(kind)) + (f" ({', '.join(bounds)})" if bounds else "")


def _prose(text: str) -> str:
    """Text with `code` in it."""
    return "".join(
        f"<code>{escape(part)}</code>" if index % 2 else escape(part) for index, part in enumerate(text.split("`"))
    )


def _content(content: Json) -> Iterator[str]:
    for media, what in content.items():
        if media != "application/problem+json":
            yield f"<dd><code>{escape(media)}</code>: {_kind(what['schema'])}</dd>"


def _operation(method: str, path: str, operation: Json) -> Iterator[str]:
    word = "SOCKET" if operation.get("x-websocket") else method.upper()
    yield f'<details id="{escape(operation["operationId"])}"><summary><span class="method">{word}</span>'
    yield f'<code>{escape(path)}</code><span class="about">{_prose(operation["summary"])}</span></summary>'
    if "description" in operation:
        yield f"<p>{_prose(operation['description'])}</p>"
    right = operation.get("x-right")
    yield f"<p>Needs the right <code>{escape(right)}</code>.</p>" if right else "<p>Public.</p>"
    if "parameters" in operation:
        yield "<h3>Parameters</h3><dl>"
        for parameter in operation["parameters"]:
            need = "required" if parameter["required"] else "optional"
            yield f"<dt><code>{escape(parameter['name'])}</code> in {parameter['in']}, {need}</dt>"
            yield f"<dd>{_kind(parameter['schema'])} {_prose(parameter.get('description', ''))}</dd>"
        yield "</dl>"
    if "requestBody" in operation:
        yield "<h3>Body</h3><dl>"
        yield from _content(operation["requestBody"]["content"])
        yield "</dl>"
    yield "<h3>Answers</h3><dl>"
    for status, answer in operation["responses"].items():
        yield f"<dt>{escape(status)}</dt><dd>{_prose(answer['description'])}</dd>"
        yield from _content(answer.get("content", {}))
    yield "</dl></details>"


def _schema(name: str, schema: Json) -> Iterator[str]:
    yield f'<details id="schema-{escape(name)}"><summary><code>{escape(name)}</code>'
    yield f'<span class="about">{_prose(schema.get("description", ""))}</span></summary>'
    if "properties" in schema:
        yield "<dl>"
        for field, kind in schema["properties"].items():
            need = "" if field in schema.get("required", ()) else ", optional"
            yield f"<dt><code>{escape(field)}</code>{need}</dt><dd>{_kind(kind)}</dd>"
        yield "</dl>"
    else:
        yield f"<p>{_kind(schema)}</p>"
    yield "</details>"


def _page(document: Json) -> Iterator[str]:
    info = document["info"]
    title = escape(info["title"])
    yield '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f'<title>{title} API</title><link rel="stylesheet" href="/docs.css"></head><body>'
    yield f"<header><h1>{title} API, version {escape(info['version'])}</h1><p>{_prose(info['description'])}</p>"
    yield '<p><a href="/openapi.json">OpenAPI 3.1 document</a></p></header><nav aria-label="Sections"><ul>'
    tags = [tag["name"] for tag in document["tags"]]
    yield from (f'<li><a href="#tag-{escape(tag)}">{escape(tag)}</a></li>' for tag in tags)
    yield '<li><a href="#schemas">schemas</a></li></ul></nav><main>'
    for tag in tags:
        yield f'<section aria-labelledby="tag-{escape(tag)}"><h2 id="tag-{escape(tag)}">{escape(tag)}</h2>'
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                if tag in operation["tags"]:
                    yield from _operation(method, path, operation)
        yield "</section>"
    yield '<section aria-labelledby="schemas"><h2 id="schemas">schemas</h2>'
    for name, schema in document["components"]["schemas"].items():
        yield from _schema(name, schema)
    yield "</section></main></body></html>"


def page(document: Json) -> str:
    """The page of an OpenAPI document as `backplane.openapi` makes it."""
    return "".join(_page(document))
