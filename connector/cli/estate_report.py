"""The findings of pre-flight as one self-contained HTML page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from connector import __version__, amounts
from connector.errors import BadInput
from connector.model import Finding, Machine, Severity
from connector.names import on_page

WORDS = {
    Severity.BLOCK: "blocks",
    Severity.WARM_BLOCK: "blocks while running",
    Severity.WARN: "warning",
    Severity.INFO: "note",
}


def page(
    machines: Sequence[Machine], findings: Mapping[str, Sequence[Finding]], vcenter: str, now: datetime
) -> str:
    """The page. `findings`: by moref, also of machines that are not on the page. All text from vCenter is escaped."""
    templates = Environment(
        loader=PackageLoader("connector.cli"),
        autoescape=select_autoescape(["j2"]),
        undefined=StrictUndefined,
        finalize=on_page,
    )
    templates.filters |= {"size": amounts.size, "plural": amounts.plural}
    counts = Counter(finding.severity for item in machines for finding in findings.get(item.moref, ()))
    ready = sum(1 for item in machines if not _grave(findings.get(item.moref, ())))
    return templates.get_template("check.html.j2").render(
        machines=machines,
        findings=findings,
        words=WORDS,
        counts=[(word, severity, counts[severity]) for severity, word in WORDS.items()],
        ready=ready,
        vcenter=vcenter,
        when=now.strftime("%Y-%m-%d %H:%M UTC"),
        version=__version__,
    )


def write(
    file: Path, machines: Sequence[Machine], findings: Mapping[str, Sequence[Finding]], vcenter: str
) -> None:
    """Write the page to a file. Raises `BadInput` if it cannot be written."""
    try:
        file.write_text(page(machines, findings, vcenter, datetime.now(UTC)), encoding="utf-8")
    except OSError as problem:
        raise BadInput(
            f"the report cannot be written ({problem.strerror or problem})",
            on=str(file),
            remedy="choose another file",
        ) from problem


def _grave(findings: Sequence[Finding]) -> bool:
    return any(finding.severity in Severity.blocking(running=True) for finding in findings)
