"""An export of the audit log is verified without a database: whatever was changed in it is found, and named by its line."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from connector.cli.control import control
from connector.control.domain.audit_log import (
    EMPTY,
    AuditEntry,
    ChainHead,
    canonical,
    digest_of,
    follow,
    read,
    verify,
)
from connector.control.state import audit_export
from connector.control.state.vault import Vault
from connector.control.store import Store
from connector.errors import AuditLogDamaged, BadInput
from tests.control import fresh

DOCUMENT = Path(__file__).parents[2] / "docs" / "control.md"


def chain(count: int) -> list[AuditEntry]:
    entries: list[AuditEntry] = []
    head = EMPTY
    for n in range(count):
        content = {"at": 1_790_000_000.25 + n / 3, "who": f"AK{n % 3}", "origin": "::1", "action": "start"}
        entry = follow(
            head, content | {"subject": f"j-{n}", "details": {"n": n, "name": 'ü\n"', "tags": ("a",)}}
        )
        entries.append(entry)
        head = ChainHead(entry.number, entry.digest)
    return entries


LINES = [entry.line() for entry in chain(12)]


def walk(lines: list[bytes], **more: Any) -> ChainHead:
    """What `verify FILE` does with a file of these bytes."""
    again = b"".join(lines).splitlines(keepends=True)
    return verify((read(line, n, "file") for n, line in enumerate(again, 1)), "file", **more)


def named(damage: AuditLogDamaged) -> int:
    """The first line that the message names."""
    match = re.search(r"line (\d+)", str(damage))
    assert match is not None
    return int(match[1])


def test_what_was_not_changed_is_right() -> None:
    assert walk(LINES) == ChainHead(12, chain(12)[-1].digest)
    assert walk([]) == EMPTY


@given(place=st.integers(0, len(b"".join(LINES)) - 1), byte=st.integers(0, 255))
def test_any_byte_that_was_changed_is_found_in_its_line(place: int, byte: int) -> None:
    whole = bytearray(b"".join(LINES))
    if whole[place] == byte:
        return
    line = whole[:place].count(b"\n") + 1
    whole[place] = byte
    with pytest.raises(AuditLogDamaged) as damage:
        walk([bytes(whole)])
    assert named(damage.value) == line


@given(place=st.integers(0, len(b"".join(LINES)) - 1), length=st.integers(1, 40))
def test_any_bytes_that_were_taken_out_or_put_in_twice_are_found(place: int, length: int) -> None:
    whole = b"".join(LINES)
    line = whole[:place].count(b"\n") + 1
    if place + length < len(whole):
        with pytest.raises(AuditLogDamaged) as damage:
            walk([whole[:place] + whole[place + length :]])
        assert named(damage.value) == line
    with pytest.raises(AuditLogDamaged):
        walk([whole[:place] + whole[place : place + length] + whole[place:]])


@given(data=st.data())
def test_lines_that_are_missing_moved_or_inserted_are_found_and_named(data: st.DataObject) -> None:
    n = data.draw(st.integers(0, len(LINES) - 2), "line")
    other = data.draw(st.integers(0, len(LINES) - 1).filter(lambda m: m != n), "other")
    rest = LINES[:n] + LINES[n + 1 :]
    with pytest.raises(AuditLogDamaged) as damage:
        walk(rest)
    assert named(damage.value) == n + 1
    with pytest.raises(AuditLogDamaged) as damage:
        walk([*rest[:other], LINES[n], *rest[other:]])
    assert named(damage.value) in (n + 1, min(n, other) + 1)
    with pytest.raises(AuditLogDamaged) as damage:
        walk([*LINES[: n + 1], LINES[other], *LINES[n + 1 :]])
    assert named(damage.value) == (n + 2 if other > n else other + 1)


@given(data=st.data())
def test_a_line_that_was_changed_with_its_digest_breaks_the_next_one_or_the_comparison(
    data: st.DataObject,
) -> None:
    entries = chain(12)
    n = data.draw(st.integers(0, 11), "line")
    content = entries[n].content() | {"who": "somebody else"}
    forged = AuditEntry(**content, digest=digest_of(content))
    lines = [*LINES[:n], forged.line(), *LINES[n + 1 :]]
    if n < 11:
        with pytest.raises(AuditLogDamaged, match=f"line {n + 2} does not continue the log: line {n + 1} "):
            walk(lines)
    with pytest.raises(AuditLogDamaged) as damage:
        walk(lines[: n + 1], earlier=entries, earlier_on="earlier")
    assert named(damage.value) == n + 1


@pytest.mark.parametrize("kept", [0, 1, 7, 11])
def test_lines_that_were_cut_from_the_end_show_against_an_earlier_export_and_a_head(kept: int) -> None:
    entries = chain(12)
    walk(LINES[:kept])  # alone it shows nothing
    with pytest.raises(AuditLogDamaged, match=f"lines {kept + 1} to 12 of earlier are missing"):
        walk(LINES[:kept], earlier=entries, earlier_on="earlier")
    with pytest.raises(AuditLogDamaged, match=f"none of its {kept} lines has the digest"):
        walk(LINES[:kept], known=entries[-1].digest)
    assert walk(LINES, earlier=entries[:kept], earlier_on="earlier", known=entries[6].digest).number == 12


def test_an_earlier_export_that_is_damaged_is_told_as_that_file() -> None:
    entries = chain(12)
    with pytest.raises(AuditLogDamaged, match=r"^earlier: line 2 is missing"):
        walk(LINES, earlier=[entries[0], *entries[2:]], earlier_on="earlier")


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"null\n",
        b"[1]\n",
        b"{}\n",
        b"\xff\n",
        b"[" * 100_000,
        b'{"number": 1e999}\n',
        LINES[0].replace(b'"number":1', b'"number":1.0'),
        LINES[0].replace(b'"number":1', b'"number":true'),
        LINES[0].replace(b'"number":1', b'"number":"1"'),
        LINES[0].replace(b'"number":1', b'"number":' + b"1" * 5000),
        LINES[0][:-1],
    ],
)
def test_what_is_no_line_is_no_crash(line: bytes) -> None:
    with pytest.raises(AuditLogDamaged) as damage:
        walk([line])
    assert named(damage.value) == 1


@pytest.mark.parametrize("number", ["1", True, 1.0, None])
def test_a_forged_line_whose_number_is_no_number_is_no_crash(number: Any) -> None:
    content = chain(1)[0].content() | {"number": number}
    with pytest.raises(AuditLogDamaged, match="line 1 "):
        walk([canonical(content | {"digest": digest_of(content)}) + b"\n"])


@pytest.fixture
def state(quick_folder: Path) -> Path:
    """The state directory of a control plane that has run."""
    folder = quick_folder / "state"
    folder.mkdir(mode=0o700)
    Vault(folder / "vault-key")
    fresh.sqlite(folder / "control.sqlite")
    return folder


@pytest.fixture
def store(state: Path) -> Iterator[Store]:
    with closing(Store(f"sqlite:///{state / 'control.sqlite'}")) as made:
        yield made


def fill(store: Store, count: int) -> None:
    with store._database.write(counted=False):
        for n in range(count):
            store._database.audit.add(audit_line(n))


def audit_line(n: int) -> Any:
    from connector.control.store.audit_chain import AuditDraft

    return AuditDraft(
        f"AK{n % 5}", "2001:db8::1", "ModifyReplicationJobAttribute", f"j-{n}", {"Name": f"web-{n}"}
    )


def run(*words: object) -> str:
    done = CliRunner().invoke(control, ["audit", *map(str, words)])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def refused(*words: object) -> Any:
    done = CliRunner().invoke(control, ["audit", *map(str, words)])
    assert done.exception is not None
    return done.exception


def test_ten_thousand_lines_are_exported_and_verified(state: Path, store: Store, tmp_path: Path) -> None:
    fill(store, 10_000)
    file = tmp_path / "audit.jsonl"
    said = run("export", "--state", state, file)
    head = store.audit.head()
    assert said == f"{file}: 10000 lines, head {head.digest}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(file.read_bytes().splitlines()) == head.number == 10_000
    right = f"10000 lines, all as they were written; head {head.digest}\n"
    assert run("verify", file) == f"{file}: {right}"
    assert run("verify", "--state", state) == f"audit log: {right}"
    assert json.loads(run("verify", file, "--json")) == {"lines": 10_000, "head": head.digest}
    assert list(tmp_path.iterdir()) == [file]


def test_an_export_and_the_database_are_compared_with_an_earlier_export(
    state: Path, store: Store, tmp_path: Path
) -> None:
    fill(store, 3)
    earlier, later = tmp_path / "earlier", tmp_path / "later"
    run("export", "--state", state, earlier)
    head = store.audit.head().digest
    fill(store, 2)
    run("export", "--state", state, later)
    assert f"All lines of {earlier} are among them." in run("verify", later, "--against", earlier)
    assert "5 lines" in run("verify", "--state", state, "--against", earlier, "--head", head)
    cut = refused("verify", earlier, "--against", later)
    assert isinstance(cut, AuditLogDamaged)
    assert "lines 4 to 5" in str(cut) and cut.exit_code == 4
    lines = later.read_bytes().splitlines(keepends=True)
    later.write_bytes(b"".join([*lines[:2], *lines[3:]]))
    assert str(refused("verify", later)).startswith(f"{later}: line 3 is missing: line 4 is in its place; ")


def test_what_cannot_be_read_or_written_is_one_line(state: Path, store: Store, tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    run("export", "--state", state, file)
    assert "0 lines" in run("verify", file)
    assert "exists" in str(refused("export", "--state", state, file))
    assert "no such state directory" in str(refused("export", "--state", tmp_path / "none", tmp_path / "x"))
    for words in ((tmp_path / "none",), (file, "--against", tmp_path / "none"), (), (file, "--head", "abc")):
        wrong = refused("verify", *words)
        assert isinstance(wrong, BadInput) and wrong.remedy + wrong.on, words


def test_a_damaged_log_is_exported_as_it_is_and_told(state: Path, store: Store, tmp_path: Path) -> None:
    fill(store, 4)
    with store._database.write(counted=False) as connection:
        connection.exec_driver_sql("DROP TRIGGER audit_no_update")
        connection.exec_driver_sql("UPDATE audit SET who = 'nobody' WHERE id = 2")
    file = tmp_path / "audit.jsonl"
    assert "line 2 was changed" in str(refused("export", "--state", state, file))
    assert len(list(audit_export.entries(file))) == 4
    assert "line 2 was changed" in str(refused("verify", file))


def test_to_verify_an_export_loads_no_database(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    file.write_bytes(b"".join(LINES))
    script = (
        "import sys; from connector.cli.control import control\n"
        f"control(['audit', 'verify', {str(file)!r}], standalone_mode=False)\n"
        "assert 'sqlalchemy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_the_program_of_the_document_finds_what_was_changed(tmp_path: Path) -> None:
    """Ten lines that need nothing of ours."""
    match = re.search(r"```python\n(import hashlib.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert match is not None
    script, file = tmp_path / "verify.py", tmp_path / "audit.jsonl"
    script.write_text(match[1])
    file.write_bytes(b"".join(LINES))
    done = subprocess.run([sys.executable, script, file], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["12", chain(12)[-1].digest]
    for lines in (LINES[1:], [LINES[0].replace(b"AK0", b"AK1"), *LINES[1:]], [*LINES[:4], *LINES[5:]]):
        file.write_bytes(b"".join(lines))
        done = subprocess.run([sys.executable, script, file], capture_output=True, text=True, check=False)
        assert done.returncode != 0
