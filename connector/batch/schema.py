"""The manifest's JSON Schema is made from the classes that read manifests. Pure."""

from __future__ import annotations

import json
from typing import Any

from connector.batch.manifest import MigrationWave


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) for editors."""
    json_schema: dict[str, Any] = MigrationWave.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:agentless-connector:migration-wave:v1",
    } | json_schema


def schema_text() -> str:
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
