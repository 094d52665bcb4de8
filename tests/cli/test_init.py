"""A configuration made by asking on a real terminal, and by options where nobody can be asked."""

from __future__ import annotations

import os
import pty
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from connector.appliance.configuration import ApplianceConfiguration, from_yaml, parse
from connector.cli import init
from connector.cli.blank import Answers, filled
from connector.errors import BadInput, Conflict
from tests.cli.conftest import Connector
from tests.smc.conftest import Cloud
from tests.vcenter.imaginary import PASSWORD, USER, World, world
from tests.waiting import PATIENCE

REFERENCE = Path(__file__).parents[2] / "config" / "appliance.yaml"


@pytest.fixture
def place() -> Iterator[World]:
    with world() as made:
        yield made


def on_a_terminal(words: list[str], answers: list[str]) -> tuple[int, str]:
    """The command with a terminal in front of it, on which all this is typed; its exit code and all that it shows."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "connector.cli.main", *words]
    running = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    os.write(ours, "".join(f"{answer}\n" for answer in answers).encode())
    shown = b""
    try:
        while piece := os.read(ours, 4096):
            shown += piece
    except OSError:  # how a terminal says that nobody is there any more
        pass
    finally:
        os.close(ours)
    return running.wait(PATIENCE), shown.decode()


def typed(place: World, cloud: Cloud, tmp_path: Path, *, same: str = "y") -> list[str]:
    password = tmp_path / "password"
    password.write_text(PASSWORD)
    password.chmod(0o600)
    state = str(tmp_path / "a state: 'new'")
    return [
        *("edge-1", place.server.url, same, USER, str(password)),
        *(cloud.plane.url, "y", str(tmp_path / "cod"), "n", str(tmp_path / "code"), "y", state),
    ]


def test_what_is_answered_on_a_terminal_is_a_configuration(
    place: World, cloud: Cloud, tmp_path: Path
) -> None:
    file = tmp_path / "appliance.yaml"
    code, shown = on_a_terminal(["init", str(file)], typed(place, cloud, tmp_path))
    assert code == 0, shown
    made = from_yaml(file)
    assert (made.name, made.vcenter.user) == ("edge-1", USER)
    assert made.vcenter.thumbprint == place.server.thumbprint_sha256 and made.vcenter.thumbprint in shown
    assert made.vcenter.settings().password.get_secret_value() == PASSWORD
    assert made.control.thumbprint.replace(":", "").lower() == cloud.plane.thumbprint.replace(":", "").lower()
    assert made.state == tmp_path / "a state: 'new'"
    assert f"{USER} sees 2 machines" in shown
    assert "still missing" in shown and str(tmp_path / "code") in shown
    assert PASSWORD not in shown and PASSWORD not in file.read_text()
    code, shown = on_a_terminal(["init", str(file)], [])
    assert code == 11 and "the file exists" in shown


def test_relative_paths_are_written_as_absolute_ones(
    run: Connector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--name", "edge-1", "--vcenter", "vc.example.com", "--user", "me@vsphere.local", "--offline"]
    words += [
        "--password-file",
        "p",
        "--thumbprint",
        "aa" * 32,
        "--control",
        "https://control.example.com:8443",
    ]
    words += ["--control-thumbprint", "bb" * 32, "--activation-code-file", "control/code", "--state", "state"]
    run("init", "appliance.yaml", *words)
    made = from_yaml(Path("appliance.yaml"))
    files = (made.vcenter.password_file, made.control.activation_code_file, made.state)
    assert files == (tmp_path / "p", tmp_path / "control" / "code", tmp_path / "state")


def test_an_address_without_its_scheme_is_written_with_it(run: Connector, tmp_path: Path) -> None:
    """As programs take it: the file must work."""
    file = tmp_path / "appliance.yaml"
    words = ["--name", "edge-1", "--vcenter", "vc.example.com", "--user", "me@vsphere.local", "--offline"]
    words += ["--password-file", "", "--thumbprint", "aa" * 32, "--control", "control.example.com:8443"]
    words += ["--control-thumbprint", "bb" * 32, "--activation-code-file", "/no/code", "--state", "/no"]
    run("init", str(file), *words)
    assert from_yaml(file).control.url == "https://control.example.com:8443"


def test_a_certificate_that_is_not_accepted_writes_nothing(
    place: World, cloud: Cloud, tmp_path: Path
) -> None:
    file = tmp_path / "appliance.yaml"
    code, shown = on_a_terminal(["init", str(file)], typed(place, cloud, tmp_path, same="n"))
    assert code == 4 and "was not accepted" in shown
    assert not file.exists()


def test_without_a_terminal_everything_is_told_or_what_is_missing_is_named(
    run: Connector, tmp_path: Path
) -> None:
    file = tmp_path / "appliance.yaml"
    words = [
        "init",
        str(file),
        "--offline",
        "--name",
        "edge-1",
        "--vcenter",
        "vc.example.com",
        "--user",
        "me@vsphere.local",
    ]
    words += [
        "--password-file",
        "",
        "--thumbprint",
        "aa" * 32,
        "--control",
        "https://control.example.com:8443",
    ]
    assert "--control-thumbprint: there is no terminal to ask on" in run(*words, code=2).err
    words += [
        "--control-thumbprint",
        "bb" * 32,
        "--activation-code-file",
        "/no/code",
        "--vddk",
        "/no/vddk",
        "--state",
        "/no",
    ]
    assert run(*words, "--json").json == {
        "file": str(file),
        "machines": None,
        "missing": ["/no/code", "/no/vddk"],
    }
    made = from_yaml(file)
    assert (made.vcenter.url, made.vcenter.password_file) == ("https://vc.example.com", None)
    refused = [*words[:1], str(tmp_path / "other"), *words[2:], "--thumbprint", "aa"]
    assert "neither SHA-1" in run(*refused, code=2).err
    assert "cannot be written" in run("init", str(tmp_path / "no" / "x"), *words[2:], code=2).err


@pytest.mark.generated
def test_the_reference_is_the_same_file_and_every_key_has_a_comment() -> None:
    if os.environ.get("UPDATE_DOCS"):
        REFERENCE.write_text(filled(Answers()))
    text = REFERENCE.read_text()
    assert text == filled(Answers())
    documented = keys(text)
    for section, field in ApplianceConfiguration.model_fields.items():
        assert section in documented
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            comments = documented[section]
            for key in field.annotation.model_fields.keys() - UNDOCUMENTED:
                assert comments.get(key), f"{section}.{key} has no comment"


#: A password is passed by a parent process only; `block` is what old files may still say.
UNDOCUMENTED = {"password", "block"}


def keys(text: str) -> dict[str, dict[str, str]]:
    """The keys of the file, also those that are switched off, each with its own keys and their comments.

    The comment of an inner key is on its line, or above it.
    """
    found: dict[str, dict[str, str]] = {}
    above = ""
    for line in text.splitlines():
        indent, off, key, rest = re.fullmatch(r"( *)(# )?(?:([a-z_]+):(?= |$))?(.*)", line).groups()  # type: ignore[union-attr]
        if key and not indent:
            found[key] = {}
        elif key:
            found[list(found)[-1]][key] = rest.partition(" # ")[2] or above
        above = rest if off and not key else ""
    return found


def test_a_disk_that_is_full_leaves_no_configuration_that_the_next_call_would_not_replace(
    tmp_path: Path,
) -> None:
    """A first boot takes a file that is there for one that is finished."""
    file, limit = tmp_path / "appliance.yaml", resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limit[1]))
    try:
        with pytest.raises(BadInput, match="cannot be written"):
            init._write(file, filled(Answers()))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert list(tmp_path.iterdir()) == []
    init._write(file, filled(Answers()))
    assert file.stat().st_mode & 0o777 == 0o644  # the service reads it as its user
    with pytest.raises(Conflict, match="the file exists"):
        init._write(file, "")
    assert list(tmp_path.iterdir()) == [file] and file.read_text() == filled(Answers())


def test_a_service_gets_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs elsewhere than where they were typed."""
    monkeypatch.chdir(tmp_path)
    given = {
        "name": "a",
        "vcenter": "https://vc",
        "authority": "ca.pem",
        "user": "u",
        "control": "https://c:1",
        "control_thumbprint": "00" * 32,
        "vddk": "vddk",
        "password_file": "mine",
    }
    answers = init._service_answers(given, init._Line(offline=True))
    assert (answers.authority, answers.vddk) == (str(tmp_path / "ca.pem"), str(tmp_path / "vddk"))
    assert answers.password_file == ""


@given(
    st.builds(
        Answers, **dict.fromkeys(("name", "user", "password_file", "state", "vddk"), st.text(min_size=1))
    )
)
def test_whatever_is_answered_the_file_means_it(answers: Answers) -> None:
    document: Any = yaml.safe_load(filled(answers))
    assert (document["name"], document["vcenter"]["user"]) == (answers.name, answers.user)
    assert (document["state"], document["vddk"]) == (answers.state, answers.vddk)
    assert document["vcenter"]["password_file"] == answers.password_file
    parse(document, "written")
