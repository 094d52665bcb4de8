"""A bundle holds what a supporter needs, none of the secrets of the installation, and comes from a broken one too."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sqlite3
import stat
from pathlib import Path
from urllib.parse import quote

import pytest

from connector.errors import TargetFailed
from connector.support import archive
from connector.support.parts import BundlePart
from tests.cli.conftest import Connector, bare_environment, run
from tests.support import planted as planting
from tests.support.planted import Planted, plant, squeezed, unpacked

__all__ = ["bare_environment", "run"]


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Planted:
    monkeypatch.setenv("PGPASSWORD", planting.DATABASE)
    return plant(tmp_path / "house")


def bundle(run: Connector, planted: Planted, *more: str) -> dict[str, bytes]:
    file = planted.home / "bundle.tar.gz"
    run("support-bundle", *planted.options(), "--yes", "--output", str(file), *more)
    return unpacked(file)


def traces(secret: str) -> set[str]:
    """What must be nowhere: the secret in each spelling, and halves of it."""
    once = json.dumps(secret)[1:-1]
    octets = secret.encode()
    encoded = {base64.b64encode(before + octets).decode()[4:-4] for before in (b"", b"a", b"ab")}
    plain = {secret, once, quote(secret, safe=""), octets.hex(), *encoded}
    return {squeezed(text.encode()) for text in plain} | {
        squeezed(secret.encode())[:12],
        squeezed(secret.encode())[-12:],
    }


def test_no_secret_of_the_installation_is_in_it(run: Connector, planted: Planted) -> None:
    for path, content in bundle(run, planted).items():
        text = squeezed(content)
        for secret in planting.SECRETS:
            assert [trace for trace in traces(secret) if trace in text] == [], path
        for at in range(0, len(planting.KEY), 64):
            assert planting.KEY[at : at + 16] not in text, path
        assert b"PRIVATE KEY" not in content, path


def test_no_other_secret_is_in_it_by_its_field_or_its_form(run: Connector, planted: Planted) -> None:
    files = bundle(run, planted)
    assert len(planting.UNKNOWN) > 10
    words = (
        *planting.UNKNOWN,
        "commented-Secret-1",
        "inline-Secret-2",
        "mistyped-Secret-3",
        "mistyped-Secret-4",
        "gAAAA",
        "LTAI5t",
    )
    assert {
        (path, word) for path, content in files.items() for word in words if word in content.decode()
    } == set()


def test_no_byte_of_a_guest_and_no_database_is_in_it(run: Connector, planted: Planted) -> None:
    files = bundle(run, planted)
    assert not any(planting.GUEST in content or b"SQLite format" in content for content in files.values())
    disks = json.loads(files["instance/disks.json"])
    assert disks[0]["journal"]["capacity"] == 1 << 30
    assert disks[0]["journal"]["records"] == {"TargetRecord": 1}


def test_what_a_supporter_needs_is_in_it(run: Connector, planted: Planted) -> None:
    files = bundle(run, planted)
    assert "passes: 3" in files["appliance/configuration.yaml"].decode()
    assert "host_disks: 8" in files["control/configuration.yaml"].decode()
    assert f"password_file: {planted.etc / 'password'}" in files["appliance/configuration.yaml"].decode()
    jobs = json.loads(files["control/jobs.json"])
    assert (jobs["count"], jobs["newest_first"][0]["status"]) == (3, "InError")
    assert json.loads(files["control/errors.json"])["VCenterFault"]["count"] == 3
    assert json.loads(files["control/alembic_version.json"])["newest_first"][0]["version_num"]
    assert json.loads(files["appliance/membership.json"])["appliance"] == "a-1"
    assert files["logs/0.log"].decode().endswith("last line\n")
    assert planting.MACHINES[0] in files["logs/0.log"].decode()
    assert json.loads(files["system/versions.json"])["python"]


def test_the_manifest_names_each_file_with_its_digest_and_the_bundle_is_private(
    run: Connector, planted: Planted
) -> None:
    files = bundle(run, planted)
    manifest = json.loads(files.pop("MANIFEST.json"))
    assert {row["path"]: row["sha256"] for row in manifest["files"]} == {
        path: hashlib.sha256(content).hexdigest() for path, content in files.items()
    }
    assert manifest["names"] == "kept"
    assert stat.S_IMODE((planted.home / "bundle.tar.gz").stat().st_mode) == 0o600


def test_control_characters_of_a_hostile_name_are_written_out(run: Connector, planted: Planted) -> None:
    log = bundle(run, planted)["logs/0.log"].decode()
    assert r"evil \x1b[31mred" in log
    assert not {"\x1b", "\x00", "\r", "\u202e"} & set(log)


def test_it_is_listed_before_it_is_written(run: Connector, planted: Planted) -> None:
    ran = run("support-bundle", *planted.options(), "--list", "--json")
    rows = {row["path"]: row for row in ran.lines}
    assert rows["logs/0.log"]["source"] == str(planted.log)
    assert "secrets" in rows["logs/0.log"]["replaced"]
    assert sorted(file.name for file in planted.home.iterdir() if "tar" in file.name) == []


def test_without_a_terminal_it_needs_a_yes(run: Connector, planted: Planted) -> None:
    assert "--yes" in run("support-bundle", *planted.options(), code=2).err


def test_an_existing_file_stays(run: Connector, planted: Planted) -> None:
    there = planted.home / "there.tar.gz"
    there.write_text("mine")
    run("support-bundle", "--log", str(planted.log), "--yes", "--output", str(there), code=2)
    assert there.read_text() == "mine"


def missing(files: dict[str, bytes]) -> dict[str, str]:
    return {row["path"]: row["why"] for row in json.loads(files["MANIFEST.json"])["missing"]}


def test_a_configuration_that_is_no_yaml(run: Connector, planted: Planted) -> None:
    file = planted.etc / "appliance.yaml"
    file.write_text(file.read_text() + "broken: [1, 2\n  - x: {\n passwort: German-Secret-5\n")
    files = bundle(run, planted)
    shown = files["appliance/configuration.yaml"].decode()
    assert json.loads(files["appliance/membership.json"])["appliance"] == "a-1"
    log = squeezed(files["logs/0.log"])
    assert [t for s in (planting.PASSWORD, planting.APPLIANCE) for t in traces(s) if t in log] == []
    assert "no YAML" in shown
    assert "passes: 3" in shown
    assert not any(word in shown for word in ("Secret", planting.PASSWORD))


def test_a_damaged_database(run: Connector, planted: Planted) -> None:
    planted.database.write_bytes(b"SQLite format 3\0" + b"rubbish" * 1000)
    files = bundle(run, planted)
    assert "DatabaseError" in missing(files)["control/jobs.json"]
    assert "appliance/configuration.yaml" in files


def test_a_locked_database(run: Connector, planted: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connector.support.control_records._SECONDS", 0)
    holder = sqlite3.connect(planted.database)
    holder.execute("PRAGMA journal_mode=DELETE")
    holder.execute("BEGIN EXCLUSIVE")
    try:
        assert "locked" in missing(bundle(run, planted))["control/jobs.json"]
    finally:
        holder.close()


def test_a_database_that_is_not_there(run: Connector, planted: Planted) -> None:
    planted.database.unlink()
    assert "no database" in missing(bundle(run, planted))["control/jobs.json"]


def test_files_that_are_gone_or_damaged(run: Connector, planted: Planted) -> None:
    (planted.home / "appliance" / "membership.json").write_text("{")
    (planted.home / "instance" / "disks" / "2000" / "journal").write_bytes(b"no journal")
    (planted.home / "appliance.log").rename(planted.home / "gone.log")
    files = bundle(run, planted)
    assert "FileNotFoundError" in missing(files)["logs/0.log"]
    assert "damaged" in missing(files)["appliance/membership.json"]
    assert "journal" in json.loads(files["instance/disks.json"])[0]["trouble"]


def test_what_follows_the_host_of_a_webhook_is_nowhere(run: Connector, planted: Planted) -> None:
    hook, file = "team-seven-deadbeef", planted.etc / "control-plane.yaml"
    (planted.etc / "hook.key").write_text("k" * 32)
    (planted.etc / "hook.key").chmod(0o600)
    recipients = [
        {"name": "a", "kind": "webhook", "url": f"https://hooks.example.com/in/{hook}?k=few", "secret_file": "hook.key"},
        {"name": "b", "kind": "mail", "host": "mail.example.com", "from": "a@example.com", "to": ["b@example.com"]},
    ]  # fmt: skip
    file.write_text(file.read_text() + f"notifications: {json.dumps({'recipients': recipients})}\n")
    with planted.log.open("a") as log:
        log.write(f"a proxy refused /in/{hook}\n")
    files = bundle(run, planted)
    assert [path for path, content in files.items() if hook.encode() in content] == []
    told = files["control/configuration.yaml"].decode()
    assert "k=few" not in told and "https://hooks.example.com:443/[removed]" in told
    assert "host: mail.example.com" in told and "from: a@example.com" in told
    file.write_text("notifications:\n  url: https://hooks.example.com/in/team-six\n  to: [\n")
    (planted.home / "bundle.tar.gz").unlink()
    assert b"team-six" not in bundle(run, planted)["control/configuration.yaml"]


def test_a_pipe_among_the_files_ends_nothing(run: Connector, planted: Planted) -> None:
    """Nobody writes into it, so reading it would never end."""
    places = (
        "appliance/membership.json",
        "appliance.log",
        "instance/disks/2000/journal",
        "control/control.sqlite",
    )
    for name in places:
        (planted.home / name).unlink()
        os.mkfifo(planted.home / name)
    files = bundle(run, planted)
    gone = missing(files)
    assert "regular file" in gone["logs/0.log"] and "regular file" in gone["appliance/membership.json"]
    assert "control/jobs.json" in gone
    assert "regular file" in json.loads(files["instance/disks.json"])[0]["trouble"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    full = open("/dev/full", "wb", buffering=0)  # noqa: SIM115 - closed below
    with full, pytest.raises(OSError, match="No space"):
        archive.stream(full, [BundlePart("x", "y", os.urandom(1 << 20))], anonymous=False, sources=["y"])
    with pytest.raises(TargetFailed, match="--output -"):
        archive.write(tmp_path / "no" / "there.tar.gz", [], anonymous=False, sources=[])
    assert list(tmp_path.iterdir()) == []


def test_a_long_log_is_cut_to_its_newest_lines(run: Connector, planted: Planted) -> None:
    with planted.log.open("a") as log:
        log.writelines(f"line {n} of a long log, and some words\n" for n in range(200_000))
    files = bundle(run, planted, "--lines", "1000000")
    assert len(files["logs/0.log"]) <= 4 << 20
    assert files["logs/0.log"].endswith(b"line 199999 of a long log, and some words\n")
    assert b"\nline 199000 " in files["logs/0.log"]


def test_without_any_role_it_tells_about_the_computer(run: Connector, tmp_path: Path) -> None:
    file = tmp_path / "bundle.tar.gz"
    run("support-bundle", "--state", str(tmp_path / "nothing"), "--yes", "--output", str(file))
    assert {"system/versions.json", "system/computer.json", "system/clock.json", "system/space.json"} <= set(
        unpacked(file)
    )


def test_an_anonymous_bundle_has_none_of_the_names_and_one_token_for_each(
    run: Connector, planted: Planted
) -> None:
    files = bundle(run, planted, "--anonymous")
    text = "\n".join(content.decode() for content in files.values()).lower()
    names = (
        *planting.MACHINES[:2], *planting.HOSTS, *planting.ADDRESSES, "payroll", "zeus", "acme", "frankfurt", "svc-migrate",
    )  # fmt: skip
    assert [name for name in names if name.lower() in text] == []
    rows = json.loads(files["control/sources.json"])["newest_first"]
    tokens = {row["id"]: row["name"] for row in rows}
    assert len(set(tokens.values())) == 3
    log = files["logs/0.log"].decode()
    assert all(token in log for token in tokens.values())
    assert "2026-11-30T10:00:00Z" in log
    assert json.loads(files["MANIFEST.json"])["names"] == "replaced"
    assert all(row["machine"] == row["name"] for row in rows)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_files_that_may_not_be_read(run: Connector, planted: Planted) -> None:
    for file in (planted.etc / "appliance.yaml", planted.log):
        file.chmod(0)
    files = bundle(run, planted)
    assert {"appliance/configuration.yaml", "logs/0.log"} <= set(missing(files))


def test_a_secret_that_cannot_be_read_is_said_because_it_is_not_looked_for(
    run: Connector, planted: Planted
) -> None:
    (planted.etc / "password").write_text("x" * 100_000)
    assert "not looked for" in missing(bundle(run, planted))["secrets"]


def test_entries_of_the_journal_become_lines_with_their_ids(
    run: Connector, planted: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = {
        "__REALTIME_TIMESTAMP": "1790000000000000",
        "PRIORITY": "4",
        "LOGGER": "connector.x",
        "CONNECTOR_JOB": "j-1",
    }
    lines = [
        entry | {"MESSAGE": f"login with {planting.PASSWORD}"},
        entry | {"MESSAGE": list(planting.CODE.encode())},
    ]
    program = tmp_path / "journalctl"
    (tmp_path / "entries").write_text("\n".join(map(json.dumps, lines)))
    program.write_text(f"#!/bin/sh\ncat {tmp_path / 'entries'}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    log = bundle(run, planted)["logs/connector-appliance.service.log"].decode()
    first, second = log.splitlines()
    assert first == "2026-09-21T14:13:20.000000Z <4> connector.x: login with [removed] [job=j-1]"
    assert planting.CODE not in second and second.endswith("[removed] [job=j-1]")
