"""The binding's structures are those of the C compiler, and those that were recorded once and for all."""

import ctypes
import json
import subprocess
from pathlib import Path

import pytest

from vddk import abi

RECORDED: dict[str, dict[str, int]] = json.loads(
    (Path(__file__).parents[2] / "fixtures" / "abi_offsets.json").read_text()
)


@pytest.mark.parametrize("name", abi.STRUCTURES)
def test_structures_have_the_recorded_layout(name: str) -> None:
    structure = abi.STRUCTURES[name]
    fields = {field[0]: getattr(structure, field[0]).offset for field in structure._fields_}
    if name == "Info":
        fields |= {field[0]: getattr(structure, field[0]).offset for field in abi.InfoBefore7._fields_}
    assert {"sizeof": ctypes.sizeof(structure), **fields} == RECORDED[name]


def test_the_record_is_what_a_c_compiler_says(tmp_path: Path) -> None:
    lines = []
    for name, fields in RECORDED.items():
        for field in fields:
            value = f"sizeof({name})" if field == "sizeof" else f"offsetof({name}, {field})"
            lines.append(f'printf("{name} {field} %zu\\n", {value});')
    source = Path(__file__).with_name("layout.c").read_text().replace("FIELDS", "\n".join(lines))
    (tmp_path / "layout.c").write_text(source)
    subprocess.run(["cc", "-o", tmp_path / "layout", tmp_path / "layout.c"], check=True)
    said = subprocess.run([tmp_path / "layout"], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in said.splitlines()]
    assert {(name, field): int(value) for name, field, value in rows} == {
        (name, field): value for name, fields in RECORDED.items() for field, value in fields.items()
    }


def test_the_sizes_that_are_published() -> None:
    sizes = {name: RECORDED[name]["sizeof"] for name in RECORDED}
    assert sizes == {
        "ConnectParams": 128, "Geometry": 12, "InfoBefore7": 56, "Info": 64, "Block": 16, "BlockList": 24,
        "CreateParams": 32,
    }  # fmt: skip
    assert RECORDED["ConnectParams"]["credentials"] == 40 and RECORDED["BlockList"]["blocks"] == 8


def test_every_function_is_described_once() -> None:
    names = [function.name for function in abi.FUNCTIONS]
    assert len(names) == len(set(names))
    reader = {"InitEx", "Exit", "ConnectEx", "Open", "ReadAsync", "Wait", "Close", "QueryAllocatedBlocks"}
    assert reader <= {function.name for function in abi.FUNCTIONS if function.required}
    errors = [f for f in abi.FUNCTIONS if f.result is abi.VixError]
    assert all(ctypes.sizeof(function.result) == 8 for function in errors) and len(errors) > 15
