"""No module depends on itself, however far around."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import Final

import grimp

#: An estate and what can be done to it: one object in four files.
TOGETHER: Final = frozenset(
    {f"simulator.estate.{part}" for part in ("estate", "hardware", "power", "snapshots")}
)


def test_imports_have_no_cycle() -> None:
    graph = grimp.build_graph("connector", "vddk", "nfc", "simulator")
    imports = {
        module: {
            other
            for other in graph.find_modules_directly_imported_by(module)
            if not {module, other} <= TOGETHER
        }
        for module in graph.modules
    }
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as cycle:
        raise AssertionError(" -> ".join(cycle.args[1])) from None
