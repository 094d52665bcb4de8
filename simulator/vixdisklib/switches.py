"""The switches of the stand-in, read from the C table that the library itself is compiled from."""

import re
from dataclasses import dataclass
from pathlib import Path

_LINE = re.compile(r'^(?P<kind>TEXT|NUMBER)\((?P<key>\w+), (?P<initial>"[^"]*"|\d+), "(?P<meaning>.*)"\)$')


@dataclass(frozen=True)
class Switch:
    """One key of `vixdisklib.conf`; `VIXSIM_<KEY>` in the environment wins over the file."""

    key: str
    number: bool
    initial: str
    meaning: str

    def write(self, value: object) -> str:
        """The line for `vixdisklib.conf`. Raises ValueError when the library would refuse the value."""
        text = str(int(value)) if isinstance(value, bool) else str(value)
        if "\n" in text or (self.number and not re.fullmatch(r"\d+|0x[0-9a-fA-F]+", text)):
            raise ValueError(f"switch {self.key}: {value!r} is not a {'number' if self.number else 'line'}")
        return f"{self.key}={text}\n"


def switches() -> dict[str, Switch]:
    """All switches by key, in the order of the table."""
    table = Path(__file__).with_name("switches.h").read_text()
    matches = (match for line in table.splitlines() if (match := _LINE.match(line)))
    return {
        match["key"]: Switch(
            match["key"], match["kind"] == "NUMBER", match["initial"].strip('"'), match["meaning"]
        )
        for match in matches
    }


def markdown() -> str:
    """The table for the documentation."""
    rows = (
        f"| `{switch.key}` | {_shown(switch.initial)} | {switch.meaning} |" for switch in switches().values()
    )
    return "\n".join(["| key | default | meaning |", "|---|---|---|", *rows]) + "\n"


def _shown(initial: str) -> str:
    return f"`{initial}`" if initial else ""
