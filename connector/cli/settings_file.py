"""The settings file of commands that call a control plane is strict TOML. No message shows its text."""

from __future__ import annotations

import stat
import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from connector import readable
from connector.errors import BadInput


class _Written(BaseModel):
    """Paths are relative to the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = ""
    access_key_id: str = ""
    access_key_secret: SecretStr = SecretStr("")
    access_key_secret_file: Path | None = None
    thumbprint: str = ""
    ca: Path | None = None


def read(file: Path) -> dict[str, Any]:
    """The file's values by name, with resolved paths. Raises BadInput for a bad file, or if others can read a secret in it."""
    try:
        mode = file.stat().st_mode
        written = _Written.model_validate(tomllib.loads(readable.text(file)))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as failed:
        raise BadInput(f"cannot read the settings: {_why(failed)}", on=str(file)) from None
    except ValidationError as failed:
        wrong = failed.errors(include_input=False, include_url=False, include_context=False)[0]
        names = ", ".join(_Written.model_fields)
        raise BadInput(
            f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}", on=str(file), remedy=f"it may set {names}"
        ) from None
    secret = written.access_key_secret.get_secret_value()
    if secret and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise BadInput("others can read the secret in it", on=str(file), remedy=f"chmod 600 {file}")
    values = written.model_dump() | {"access_key_secret": secret}
    return {
        name: file.parent / value.expanduser() if isinstance(value, Path) else value
        for name, value in values.items()
    }


def _why(failed: Exception) -> str:
    """Why the file cannot be read, without its text: a line of it may be the secret."""
    if isinstance(failed, OSError):
        return failed.strerror or type(failed).__name__
    return "it is not TOML" if isinstance(failed, tomllib.TOMLDecodeError) else "it is not UTF-8"
