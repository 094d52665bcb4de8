"""How an imaginary vCenter behaves."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """How this vCenter behaves.

    `session_timeout`: idle seconds until a session ends, 0 for never. `page`: objects in one answer of the
    property collector whatever the client asks for, 0 for no limit. `cbt_page`: extents in one answer of
    QueryChangedDiskAreas; `cbt_gaps`: quiet stretches get empty answers of their own. `task_seconds`: the
    least that a task takes. `chunked`: answers to SOAP calls come in chunks, without their length.
    """

    session_timeout: float = 1800.0
    cbt_page: int = 2000
    cbt_gaps: bool = False
    task_seconds: float = 0.0
    page: int = 0
    chunked: bool = False
