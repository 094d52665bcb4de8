"""A machine of the manifest that has no job of the wave keeps its group from being finished. Pure.

A machine that no entry of the manifest names is left out on purpose and counts nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from connector import amounts
from connector.batch import earlier
from connector.batch.parse import Wave
from connector.batch.plane import JobView, SourceView
from connector.batch.resolve import Resolved, ResolvedMachine
from connector.errors import Conflict
from connector.names import visible

_SHOWN: Final = 8  # how many machines a message names


def without_job(
    wave: Wave, resolved: Resolved, sources: Sequence[SourceView], jobs: Mapping[str, JobView]
) -> dict[str, list[ResolvedMachine | str]]:
    """The machines without a job, by group; a text is an entry that names no machine. `jobs`: by source."""
    lacking: dict[str, list[ResolvedMachine | str]] = {}
    for placement in resolved.placements:
        if placement.source.id not in jobs:
            lacking.setdefault(placement.group, []).append(placement)
    for number in resolved.unresolved:
        group = wave.choices(number).group or ""
        lacking.setdefault(group, []).extend(_unknown(wave, number, group, sources, jobs))
    return {group: machines for group, machines in lacking.items() if machines}


def _unknown(
    wave: Wave, number: int, group: str, sources: Sequence[SourceView], jobs: Mapping[str, JobView]
) -> Iterator[str]:
    """The words of an entry that names no machine, unless one of the jobs may be its machine's.

    A finished machine may have been removed as a source, or a selector no longer matches it.
    """
    entry = wave.manifest.machines[number]
    if entry.selector is not None:
        if not any(job.group == group for job in jobs.values()):
            yield entry.selector
        return
    with_job = [source for source in sources if source.id in jobs]
    words = {word for source in with_job for word in (source.name, source.registered, source.moref)}
    word = str(entry.moref or entry.name)
    if len(with_job) == len(jobs) and word not in words:
        yield word


def refusal(
    wave: Wave, group: str, lacking: Sequence[ResolvedMachine | str], elsewhere: Mapping[str, JobView]
) -> Conflict:
    """Why the cutover of a group cannot begin, in one line. `elsewhere`: see `earlier.finished_elsewhere`."""
    names = [_named(machine, elsewhere) for machine in lacking[:_SHOWN]]
    if rest := len(lacking) - len(names):
        names.append(f"{rest} more")
    text = f"{amounts.plural(len(lacking), 'machine')} of the manifest without a job: {', '.join(names)}"
    remedy = f"`connector batch apply {wave.file}` makes the job; or take out of the manifest what stays behind, or is migrated"
    return Conflict(text, on=f"group {group}" if group else wave.name, remedy=remedy)


def _named(machine: ResolvedMachine | str, elsewhere: Mapping[str, JobView]) -> str:
    if isinstance(machine, str):
        return visible(machine)
    finished = elsewhere.get(machine.source.id)
    return visible(machine.source.name) + (f" ({earlier.sentence(finished)})" if finished else "")
