"""`connector doctor` before anything was ever migrated: what people and programs are shown, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from simulator.faults import Rule
from tests.cli.conftest import Connector
from tests.smc.conftest import Cloud
from tests.vcenter.imaginary import PASSWORD, USER, World, change_vm, world

SNAPSHOT = "VirtualMachine.State.CreateSnapshot"
MODIFY = "Authorization.ModifyPermissions"  # whoever holds it is more than a migration needs
OTHER = "connector@vsphere.local"


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with world() as made:
        monkeypatch.setenv("CONNECTOR_VCENTER_URL", made.server.url)
        monkeypatch.setenv("CONNECTOR_VCENTER_USER", USER)
        monkeypatch.setenv("CONNECTOR_VCENTER_PASSWORD", PASSWORD)
        monkeypatch.setenv("CONNECTOR_VCENTER_THUMBPRINT", made.server.thumbprint)
        yield made


def test_findings_are_data_and_the_exit_code_says_whether_one_blocks(home: World, run: Connector) -> None:
    found = run("doctor", "--json", code=11).lines  # esx-NN.lab.example is nobody's name
    assert {one["check"] for one in found if one["bad"]} == {"A1"}
    assert set(found[0]) == {"check", "title", "severity", "on", "what", "remedy", "bad"}


def test_a_host_matters_by_the_machines_that_are_to_be_migrated(home: World, run: Connector) -> None:
    found = [one for one in run("doctor", "--json", code=11).lines if one["check"] == "A1"]
    holding = [one for one in found if one["bad"]]
    assert holding and all("; it runs " in one["what"] for one in holding)
    name = next(one["name"] for one in run("vm", "list", "--json").lines if one["moref"] == home.vm)
    of_one = [
        one for one in run("doctor", "--machine", name, "--json", code=11).lines if one["check"] == "A1"
    ]
    (needed,) = [one for one in of_one if one["bad"]]
    assert needed["what"].endswith(f"it runs {name}")
    assert len(of_one) == len(found)
    assert "no machine that is to be migrated runs there" in next(o["what"] for o in of_one if not o["bad"])
    assert "nothing" not in run("doctor", "--machine", "no-such-machine", code=3).out


def test_people_see_what_passed_unless_they_want_failures_only(home: World, run: Connector) -> None:
    said = run("doctor", code=11).out
    assert "vCenter accepts the login, and answers" in said
    assert "A5" in said and said.splitlines()[-1].startswith("appliance: ")
    home.server.center.authority.deny(SNAPSHOT, home.vm)
    assert "ok  the user may do what a migration needs" not in run("doctor", code=11).out
    quiet = run("doctor", "--quiet", code=11).out
    assert "vCenter accepts the login, and answers" not in quiet
    assert "A1" in quiet


def test_people_get_one_line_for_all_machines_with_the_same_finding(home: World, run: Connector) -> None:
    home.server.center.authority.deny(SNAPSHOT)
    lines = [line for line in run("doctor", "--quiet", code=11).out.splitlines() if "A8" in line]
    assert len(lines) == 1


def test_role_says_what_is_missing_where_and_how_to_grant_it(home: World, run: Connector) -> None:
    assert run("doctor", "--role").out.startswith("nothing is missing")
    home.server.center.authority.deny(SNAPSHOT, home.vm)
    told = run("doctor", "--role", "--json", code=11).json
    assert [(one["moref"], one["missing"]) for one in told["missing"]] == [(home.vm, [SNAPSHOT])]
    assert "govc role.create Connector" in told["commands"][0] and SNAPSHOT in told["commands"][0]
    home.server.center.authority.allow(SNAPSHOT, home.vm)
    home.server.center.authority.deny("Global.DisableMethods")
    assert "Global.DisableMethods" in run("doctor", "--role").out


def test_no_administrator_is_told_to_lose_what_they_may(home: World, run: Connector) -> None:
    """Setting a permission replaces the one that the user has there."""
    home.server.center.authority.deny(SNAPSHOT, home.vm)
    for told in (run("doctor", "--role", code=11).out, run("doctor", "--role", "--json", code=11).out):
        assert f"-principal {USER}" not in told.replace("'", "") and f"-principal {OTHER}" in told
    assert OTHER in run("doctor", "--role", code=11).out.partition("a separate user")[2]
    home.server.center.authority.deny(MODIFY)
    assert f"-principal {USER}" in run("doctor", "--role", code=11).out.replace("'", "")


def test_privileges_matter_on_the_machine_that_is_to_be_migrated_and_its_datastores(
    home: World, run: Connector
) -> None:
    names = {one["moref"]: one["name"] for one in run("vm", "list", "--json").lines}
    home.server.center.authority.deny(SNAPSHOT, home.vm)

    def lacking(moref: str) -> list[str]:
        said = run("doctor", "--machine", names[moref], "--json", code=11).lines
        return [one["on"] for one in said if one["check"] == "A8"]

    assert lacking(home.vm) == [names[home.vm]] and lacking(home.other()) == []
    assert run("doctor", "--role", "--machine", names[home.other()], "--json").json["missing"] == []
    home.server.center.authority.allow(SNAPSHOT, home.vm)
    machine = home.estate.inventory.vm(home.vm)
    elsewhere = set(home.estate.inventory.datastores) - {disk.datastore for disk in machine.disks}
    for store in elsewhere:
        home.server.center.authority.deny("Datastore.Browse", store)
    assert elsewhere and lacking(home.vm) == []


@pytest.mark.parametrize("words", [["--role", "--repair"], ["--only", "appliance", "--repair"]])
def test_a_repair_that_would_not_be_done_is_refused(home: World, run: Connector, words: list[str]) -> None:
    assert "--repair" in run("doctor", *words, code=2).err


def test_it_is_said_that_no_deep_check_left_anything(home: World, run: Connector) -> None:
    assert "nothing" in run("doctor", "--only", "looks").out
    assert run("doctor", "--only", "looks", "--json").out == ""


def test_names_are_one_line_and_command_no_terminal(home: World, run: Connector) -> None:
    change_vm(home.estate, home.vm, name="web\x9b31m[bold]\nvm-999 forged")
    home.server.center.authority.deny(SNAPSHOT, home.vm)
    for words in (["doctor"], ["doctor", "--role"]):
        told = run(*words, code=11).out
        assert "\x9b" not in told and "[bold]" in told
        assert not any(line.startswith("vm-999") for line in told.splitlines())


def test_what_was_seen_is_shown_though_the_inventory_cannot_be_read(home: World, run: Connector) -> None:
    home.estate.faults.add(Rule("RetrievePropertiesEx", "fault", times=None, message="the inventory is away"))
    found = run("doctor", "--instance", "127.0.0.1:1", "--json", code=11).lines
    assert {"A4", "A12"} <= {one["check"] for one in found}
    assert "the inventory is away" in next(one["what"] for one in found if one["check"] == "A4")


def test_an_address_that_is_none_is_said_before_anything_is_asked(home: World, run: Connector) -> None:
    said = run("doctor", "--instance", "127.0.0.1:1", "--instance", "host:abc", code=2)
    assert said.out == "" and said.err.count("\n") == 1
    assert "host:abc: this is no address of an instance" in said.err


def test_a_machine_that_cannot_be_read_keeps_nobody_from_being_looked_at(home: World, run: Connector) -> None:
    change_vm(home.estate, home.vm, name="x" * 5_000_000)
    found = run("doctor", "--instance", "127.0.0.1:1", "--json", code=11).lines
    assert "A12" in {one["check"] for one in found} and "A4" not in {one["check"] for one in found}


def test_a_refused_login_is_a_finding_and_no_password_is_shown(
    home: World, run: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONNECTOR_VCENTER_PASSWORD", "tr0ub4dor")
    said = run("doctor", "--json", code=11)
    assert "A4" in {one["check"] for one in said.lines}
    assert "tr0ub4dor" not in said.out + said.err


def appliance(home: World, folder: Path, **control: str) -> str:
    """The configuration of one that was never started."""
    (folder / "password").write_text(PASSWORD)
    (folder / "password").chmod(0o600)
    document = {
        "vcenter": {
            "url": home.server.url,
            "user": USER,
            "password_file": str(folder / "password"),
            "thumbprint": home.server.thumbprint,
        },
        "control": control,
        "vddk": str(folder / "none"),
        "state": str(folder / "state"),
    }
    (folder / "appliance.yaml").write_text(json.dumps(document))
    return str(folder / "appliance.yaml")


def blocking(run: Connector, file: str) -> set[str]:
    found = run("doctor", "--config", file, "--only", "appliance", "--json", code=11).lines
    return {one["check"] for one in found if one["bad"]}


def test_a_control_plane_that_does_not_run_is_found(home: World, run: Connector, tmp_path: Path) -> None:
    file = appliance(home, tmp_path, url="https://127.0.0.1:1", thumbprint="00" * 32)
    assert {"A9", "A11"} <= blocking(run, file)


def test_an_appliance_that_may_still_enrol_is_well_and_one_without_code_is_not(
    home: World, run: Connector, tmp_path: Path, cloud: Cloud
) -> None:
    (tmp_path / "code").write_text("code")
    where = {"url": cloud.plane.url, "thumbprint": cloud.plane.thumbprint}
    code = str(tmp_path / "code")
    assert "A11" not in blocking(run, appliance(home, tmp_path, **where, activation_code_file=code))
    assert "A11" in blocking(run, appliance(home, tmp_path, **where))
    where["thumbprint"] = "00" * 32
    assert "A11" in blocking(run, appliance(home, tmp_path, **where, activation_code_file=code))


def test_before_its_first_start_an_appliance_is_not_called_known_and_leaves_nothing(
    home: World, run: Connector, tmp_path: Path, cloud: Cloud
) -> None:
    (tmp_path / "code").write_text("code")
    where = {"url": cloud.plane.url, "thumbprint": cloud.plane.thumbprint}
    file = appliance(home, tmp_path, **where, activation_code_file=str(tmp_path / "code"))
    done = run("doctor", "--config", file, code=11)  # its VDDK is missing
    assert "not enrolled yet: its code enrols it at its first start" in done.out
    assert "never enrolled" not in done.err
    assert "never enrolled" in run("doctor", "--config", file, "--only", "left", code=2).err


def test_the_credential_is_tried_and_one_that_was_forgotten_is_found(
    home: World, run: Connector, tmp_path: Path, cloud: Cloud
) -> None:
    member = cloud.plane.enrol("doctor", "https://doctor:443")
    file = appliance(home, tmp_path, url=cloud.plane.url, thumbprint=cloud.plane.thumbprint)
    (tmp_path / "state").mkdir()
    for secret, forgotten in ((member.secret, False), ("gone", True)):
        kept = {
            "control": cloud.plane.thumbprint,
            "vcenter": "u",
            "appliance_id": member.appliance_id,
            "secret": secret,
        }
        (tmp_path / "state" / "membership.json").write_text(json.dumps(kept))
        assert ("A11" in blocking(run, file)) == forgotten


def test_which_left_overs_must_be_said(run: Connector) -> None:
    assert "--vcenter" in run("doctor", code=2).err
    assert "no installation given" in run("doctor", "--only", "left", "--vcenter", "https://vc", code=2).err
