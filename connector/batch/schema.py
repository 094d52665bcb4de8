"""The manifest's JSON Schema, from the classes that read it. Pure."""

from __future__ import annotations

import json
from typing import Any

from connector.batch.manifest import MigrationWave


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) for editors."""
    found: dict[str, Any] = MigrationWave.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:agentless-connector:migration-wave:v1",
    } | found


def schema_text() -> str:
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
