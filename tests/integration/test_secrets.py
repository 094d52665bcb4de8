"""No password, cookie or key where others can look: argument vectors, output, logs, files, errors."""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.integration.command import ROLES, Command, marked
from tests.integration.conftest import Start
from tests.integration.house import MIB, House, Shape
from tests.processes import addresses, children, lives


@pytest.mark.cold
def test_invariant_12_secrets_stay_where_they_belong(make_house: Callable[..., House], start: Start) -> None:
    house = make_house(Shape("web-01", ((6 * MIB, 4 * MIB),)))
    house.reader(bandwidth=2 * MIB, log_secrets=1)
    cookies: set[str] = set()
    house.witness.when("CreateSnapshot_Task", lambda: cookies.update(house.cookies()))
    command = start(house.migration("web-01"))
    command.present("instance")
    command.present("worker")  # an earlier one only looked at the installation
    cookies.update(house.cookies())
    words, settings = [], []
    for one in marked(command.mark):
        with suppress(psutil.Error):  # it has ended meanwhile
            words.append(" ".join(one.cmdline()))
            settings += one.environ().values()
    keys = set(private_lines(house.out))
    done = command.wait()
    assert done.code == 0
    assert len(words) >= 5
    assert cookies
    assert keys
    control = house.out / ".connector" / "control"
    key = tomllib.loads((control / "access-key.toml").read_text())["access_key_secret"]
    code = (control / "activation-code").read_text().strip()
    secrets = {house.password, key, code, *cookies, *keys}
    said = [*words, *settings, done.stdout, done.stderr]
    for place in visible(house.out):
        said.append(place.read_bytes().decode(errors="replace"))
    for log in house.out.rglob("*.log"):
        said.append(log.read_text(errors="replace"))
    for text in said:
        for secret in secrets:
            assert secret not in text


@pytest.mark.cold
def test_invariant_12_no_process_shows_a_secret_that_came_by_environment(
    make_house: Callable[..., House], start: Start
) -> None:
    """Neither the command itself nor what it starts; a proxy's password and somebody else's token are secrets too."""
    house = make_house(Shape("web-01", ((6 * MIB, 4 * MIB),)))
    house.reader(bandwidth=2 * MIB)
    words = house.migration("web-01")
    if "--password-file" in words:
        place = words.index("--password-file")
        del words[place : place + 2]
    given = {
        "CONNECTOR_VCENTER_PASSWORD": house.password,
        "CONNECTOR_ACCESS_KEY_SECRET": "secret-of-a-key",
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "secret-of-a-cloud",
        "ALIBABA_CLOUD_SECURITY_TOKEN": "token-of-a-cloud",
        "FTP_PROXY": "http://me:secret-of-a-proxy@127.0.0.1:3128",
        "CI_JOB_TOKEN": "token-of-a-build",
        "PGPASSWORD": "secret-of-a-database",
    }
    secrets = {house.password, *(value for name, value in given.items() if name != "FTP_PROXY")}
    command = start(words, **given)
    seen: set[str] = set()
    for role in ("control", "appliance", "instance", "worker"):
        command.present(role)
        for one in command.processes():
            try:
                shown = Path(f"/proc/{one.pid}/environ").read_bytes() + b"".join(
                    map(str.encode, one.cmdline())
                )
                seen.update(name for name, word in ROLES.items() if word in " ".join(one.cmdline()))
            except (OSError, psutil.Error):
                continue  # it has ended meanwhile
            for secret in (*secrets, "secret-of-a-proxy"):
                assert secret.encode() not in shown, one
    assert seen == set(ROLES)
    assert command.wait().code == 0


@pytest.mark.cold
def test_invariant_12_r54_nothing_of_our_state_can_be_read_by_others_and_no_port_is_open_to_them(
    make_house: Callable[..., House], start: Start
) -> None:
    house = make_house(Shape("web-01", ((6 * MIB, 4 * MIB),)))
    house.reader(bandwidth=2 * MIB)
    house.out.mkdir()
    before = os.umask(0)
    try:
        command = start(house.migration("web-01"))
    finally:
        os.umask(before)
    command.copied(0.2)
    during = {str(path.relative_to(house.out)) for path in visible(house.out)}
    state = house.out / ".connector"
    open_to_others = [
        path for path in everything(state, house.out / "instances") if path.lstat().st_mode & 0o077
    ]
    assert open_to_others == []
    names = {path.name for path in everything(state)}
    assert {"control.sqlite", "control.sqlite-wal", "engine.sqlite"} <= names
    ports = {role: listening(command, role) for role in ROLES}
    assert (ports["appliance"], ports["worker"], ports["cli"]) == (set(), set(), set())
    assert all(address.startswith("127.") for found in ports.values() for address in found)
    assert {role for role, found in ports.items() if found} == {"control", "instance"}
    assert command.wait().code == 0
    after = {str(path.relative_to(house.out)) for path in visible(house.out)}
    assert not {path for path in during | after if path.startswith((".connector", "instances"))}


def visible(folder: Path) -> Iterator[Path]:
    """Files below `folder` that a stranger can reach and read."""
    for entry in folder.iterdir():
        mode = entry.lstat().st_mode
        if stat.S_ISDIR(mode) and mode & stat.S_IXOTH:
            yield from visible(entry)
        elif stat.S_ISREG(mode) and mode & stat.S_IROTH:
            yield entry


def everything(*folders: Path) -> Iterator[Path]:
    """The folders and what is in them; what goes away meanwhile is left out."""
    for folder in folders:
        yield folder
        yield from (entry for entry in folder.rglob("*") if entry.exists())


def private_lines(folder: Path) -> Iterator[str]:
    """The first lines of every private key in the files of our state."""
    for file in folder.rglob("*.pem"):
        lines = file.read_text().splitlines()
        for number, line in enumerate(lines):
            if "PRIVATE KEY" in line and line.startswith("-----BEGIN"):
                yield lines[number + 1]


@pytest.mark.cold
def test_the_marks_of_a_command_cover_its_children(make_house: Callable[..., House], start: Start) -> None:
    """What the tests above look at is really everything: each child of the command carries the mark."""
    house = make_house(Shape("web-01", ((6 * MIB, 4 * MIB),)))
    house.reader(bandwidth=2 * MIB)
    command = start(house.migration("web-01"))
    command.copied(0.2)
    below = children(command.process.pid)
    mark = {one.pid for one in marked(command.mark)}
    assert all(one.pid in mark or not lives(one) for one in below)
    assert len(mark) >= 4
    assert command.wait().code == 0


def listening(command: Command, role: str) -> set[str]:
    """The addresses at which the processes of that role can be reached."""
    return {host for process in command.processes(role) for host, _ in addresses(process)}
