"""An appliance's configuration is written with a comment for every key. `config/appliance.yaml` is the same with examples."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined


@dataclass(frozen=True, slots=True)
class Answers:
    """The settings without a default. Exactly one of `thumbprint` and `authority` is set."""

    name: str = "appliance-1"
    vcenter: str = "https://vcenter.example.com"
    user: str = "connector@vsphere.local"
    password_file: str = "/etc/connector/vcenter.password"  # noqa: S105 - where it is, not what
    thumbprint: str = "AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD"
    authority: str = ""
    control: str = "https://control.example.com:8443"
    control_thumbprint: str = "00" * 32
    activation_code_file: str = "/etc/connector/activation.code"
    vddk: str = ""  # none: disks are read over NFC
    state: str = "/var/lib/connector/appliance"


def filled(answers: Answers) -> str:
    """The file's text. It is valid YAML with exactly these answers, whatever they contain."""
    templates = Environment(  # noqa: S701 # nosec B701 - YAML, quoted by `word`
        loader=PackageLoader("connector.cli"),
        undefined=StrictUndefined,
        trim_blocks=False,
        keep_trailing_newline=True,
    )
    templates.filters["word"] = _word
    return templates.get_template("appliance.yaml.j2").render(asdict(answers))


def _word(text: str) -> str:
    """The text as it is if YAML reads it so, else in quotes."""
    try:
        plain = yaml.safe_load(f"key: {text}") == {"key": text}
    except yaml.YAMLError:
        plain = False
    if plain and text.isprintable() and ":" not in text.removeprefix("https:"):
        return text
    return yaml.safe_dump(text, default_style='"', width=1 << 30).strip()
