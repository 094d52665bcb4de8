"""docs/manifest.md is made from the manifest's JSON Schema. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from connector.batch.schema import schema

_INTRODUCTION: Final = """# The manifest of a wave

This page is generated from the schema; a test compares them.

A wave is a YAML file of `kind: MigrationWave`. `connector batch validate FILE` reports each problem with file, line and column.
`plan` shows what would change, and `apply` changes it; a second `apply` changes nothing. A key that is not on this page is
refused. Editors check and complete manifests with `config/manifest.schema.json`:

```yaml
# yaml-language-server: $schema=config/manifest.schema.json
```

Text is read as in YAML 1.2: `on`, `22:00` and dates are text and need no quotes. A file has at most 4 MiB, 24 levels and
200 000 values, including those of aliases. Tags, merge keys and duplicate keys are refused. Examples: `config/manifest.yaml`,
`config/manifest-minimal.yaml`.

A machine's own choice overrides `defaults`, field by field. A list is replaced as a whole.
"""


def document() -> str:
    """The whole page."""
    wave = schema()
    parts = wave["$defs"]
    sections = [*_section("MigrationWave", wave, parts)]
    for name in _order(wave):
        if "properties" in parts[name]:
            sections += _section(name, parts[name], parts)
    return "\n".join([_INTRODUCTION, *sections])


def _order(wave: dict[str, Any]) -> list[str]:
    """The names of the parts in the order in which a reader meets them."""
    names: dict[str, None] = {}
    pending = [wave]
    while pending:
        for name in _references(pending.pop(0).get("properties", {})):
            if name not in names:
                names[name] = None
                pending.append(wave["$defs"][name])
    return list(names)


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield str(value["$ref"]).rpartition("/")[2]
        for below in value.values():
            yield from _references(below)
    elif isinstance(value, list):
        for below in value:
            yield from _references(below)


def _section(name: str, part: dict[str, Any], parts: dict[str, Any]) -> Iterator[str]:
    yield f"## {_title(name)}\n"
    yield f"{' '.join(part['description'].split())}\n"
    yield "| key | value | default | meaning |"
    yield "|---|---|---|---|"
    required = part.get("required", ())
    for key, field in part["properties"].items():
        default = "required" if key in required else _default(field)
        meaning = str(field.get("description", "")).replace("|", "\\|")
        yield f"| `{key}` | {_value(field, parts)} | {default} | {meaning} |"
    yield ""


def _title(name: str) -> str:
    """The heading of a class: a section is named after its key."""
    return name.removesuffix("Section")


def _value(field: dict[str, Any], parts: dict[str, Any]) -> str:
    """What a key may hold. Only a part with keys of its own has a section to link to; an enumeration is listed."""
    if "$ref" in field:
        name = str(field["$ref"]).rpartition("/")[2]
        if "properties" not in parts[name]:
            return _value(parts[name], parts)
        return f"[{_title(name)}](#{_title(name).lower()})"
    if "anyOf" in field:
        kinds = [_value(kind, parts) for kind in field["anyOf"] if kind.get("type") != "null"]
        return ", or ".join(dict.fromkeys(kinds))
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return ", ".join(f"`{word}`" for word in field["enum"])
    if field.get("type") == "array":
        return f"list of {_value(field['items'], parts)}"
    if field.get("type") == "object":
        return "mapping of text to text"
    return _scalar(field)


def _scalar(field: dict[str, Any]) -> str:
    words = {"string": "text", "integer": "whole number", "number": "number", "boolean": "`true` or `false`"}
    text = words[field["type"]]
    low, high = (field.get(name) for name in ("minimum", "maximum"))
    if low is not None and high is not None:
        text += f" {low}-{high}"
    if pattern := field.get("pattern"):
        text += f" `{pattern.replace('|', chr(92) + '|')}`"
    return text


def _default(field: dict[str, Any]) -> str:
    value = field.get("default")
    return "" if value in (None, [], {}, "") or isinstance(value, dict) else f"`{json.dumps(value)}`"
