"""What runs at the first start of a converted Windows: its address for the new card, the user's script, and nothing twice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from connector.conversion import windows as planner
from connector.conversion import windows_network
from connector.conversion.changes import ChangePlan
from connector.conversion.registry import RegistryKey, RegistryValue, dword, expand_sz, multi_sz, sz
from connector.conversion.windows import WindowsGuest
from tests.conversion.test_windows import planned, values
from tests.conversion.windows_files import CARD, USUAL, carried_out, windows

FOLDER = "/Windows/Connector"
SERVICE = ("ControlSet001", "Services", "ConnectorFirstBoot")
OTHER = (*CARD[:-1], "{B2}")
SCRIPT = b"Write-Output 'hello'\r\n"


def keeping(**more: object) -> WindowsGuest:
    return windows(**{"keeps_addresses": True, "cards": 1} | more)  # type: ignore[arg-type]


def files(plan: ChangePlan) -> dict[str, bytes]:
    return {change.path: change.after or b"" for change in plan.changes if change.path.startswith(FOLDER)}


def test_the_address_waits_for_the_new_card_and_the_old_card_gives_it_up() -> None:
    plan = planned(keeping())
    script = files(plan)[f"{FOLDER}/addresses.ps1"].decode()
    assert "$addresses = @('10.0.0.5')\r\n$masks = @('255.255.255.0')\r\n" in script
    assert "$gateways = @('10.0.0.1')\r\n$servers = @('10.0.0.2', '10.0.0.3')\r\n" in script
    assert 'ServiceName="netkvm"' in script
    assert values(plan)[CARD, "EnableDHCP"] == dword(1)
    assert not [note for note in plan.notes if "fixed addresses" in note]


def test_a_service_starts_it_and_goes_when_everything_has_succeeded() -> None:
    plan = planned(keeping())
    start = files(plan)[f"{FOLDER}/first-boot.cmd"].decode().split("\r\n")
    assert start[2].endswith("-File addresses.ps1 >> first-boot.log 2>&1")
    assert start[3] == "if errorlevel 1 exit /b 1"
    assert start[4].startswith("sc.exe delete ConnectorFirstBoot")
    assert values(plan)[SERVICE, "Start"] == dword(2)
    assert values(plan)[SERVICE, "ObjectName"] == sz("LocalSystem")
    program = values(plan)[SERVICE, "ImagePath"]
    assert program.kind == expand_sz("").kind
    assert program.text.endswith('/c "%SystemRoot%\\Connector\\first-boot.cmd"')


def test_the_user_s_script_runs_after_the_address() -> None:
    plan = planned(keeping(first_boot=SCRIPT))
    assert files(plan)[f"{FOLDER}/script.ps1"] == SCRIPT
    start = files(plan)[f"{FOLDER}/first-boot.cmd"].decode()
    assert start.index("addresses.ps1") < start.index("script.ps1") < start.index("sc.exe delete")


def test_the_user_s_script_alone() -> None:
    plan = planned(windows(first_boot=SCRIPT))
    assert set(files(plan)) == {f"{FOLDER}/script.ps1", f"{FOLDER}/first-boot.cmd"}
    assert (CARD, "EnableDHCP") not in values(plan)


def test_another_script_takes_the_place_of_an_earlier_one() -> None:
    guest = windows(first_boot=SCRIPT)
    later = replace(carried_out(guest, planned(guest)), first_boot=b"Write-Output 'other'\r\n")
    assert files(planner.plan(later))[f"{FOLDER}/script.ps1"] == b"Write-Output 'other'\r\n"


@pytest.mark.parametrize(
    ("rows", "cards"),
    [
        ({OTHER: USUAL[CARD]}, 1),
        ({OTHER: {"EnableDHCP": dword(1), "DhcpIPAddress": sz("10.0.0.9")}}, 1),
        ({}, 2),
    ],
    ids=["two with fixed addresses", "one asks DHCP", "two cards"],
)
def test_addresses_that_belong_to_nobody_knows_whom_are_not_moved(rows: object, cards: int) -> None:
    plan = planned(keeping(system=USUAL | rows, cards=cards))  # type: ignore[operator]
    assert files(plan) == {}
    assert (CARD, "EnableDHCP") not in values(plan)
    (note,) = [note for note in plan.notes if "fixed addresses" in note]
    assert "are not kept: the registry has cards that may be gone" in note


def test_an_image_that_does_not_say_how_many_cards_its_machine_had_has_one() -> None:
    assert files(planned(keeping(cards=0)))


def test_a_card_that_never_had_a_lease_does_not_count() -> None:
    rows = {OTHER: {"EnableDHCP": dword(1), "DhcpIPAddress": sz("0.0.0.0")}}
    assert files(planned(keeping(system=USUAL | rows)))


@pytest.mark.parametrize(
    ("values_of_card", "expected"),
    [
        (
            {"IPAddress": ["10.0.0.5", "10.0.0.6"], "SubnetMask": ["255.0.0.0", "255.255.0.0"]},
            "10.0.0.5, 10.0.0.6",
        ),
        ({"IPAddress": ["10.0.0.5'); Remove-Item C:\\ -Recurse; ('"], "SubnetMask": ["255.0.0.0"]}, None),
        ({"IPAddress": ["10.0.0.5"], "SubnetMask": ["255.0.255.0"]}, None),
        ({"IPAddress": ["10.0.0.5"], "SubnetMask": ["0.0.0.0"]}, None),
        ({"IPAddress": ["10.0.0.5"]}, None),
        ({"IPAddress": ["0.0.0.0"], "SubnetMask": ["0.0.0.0"]}, None),
        ({"IPAddress": ["fe80::1"], "SubnetMask": ["64"]}, None),
    ],
)
def test_only_what_is_an_address_gets_into_the_script(
    values_of_card: dict[str, list[str]], expected: str | None
) -> None:
    rows: dict[str, RegistryValue] = {name: multi_sz(texts) for name, texts in values_of_card.items()}
    address = windows_network.fixed("{B1}", RegistryKey(rows | {"EnableDHCP": dword(0)}))
    assert (str(address) if address else None) == expected


def test_what_is_no_address_of_a_server_or_gateway_is_left_out() -> None:
    rows = {
        "EnableDHCP": dword(0),
        "IPAddress": multi_sz(["10.0.0.5"]),
        "SubnetMask": multi_sz(["255.0.0.0"]),
        "DefaultGateway": multi_sz(["10.0.0.1", "evil'"]),
        "NameServer": sz("10.0.0.2 10.0.0.3,x';"),
    }
    address = windows_network.fixed("{B1}", RegistryKey(rows))
    assert address is not None
    assert (address.gateways, address.servers) == (("10.0.0.1",), ("10.0.0.2", "10.0.0.3"))
    text = windows_network.script(address).decode()
    assert "evil" not in text
    assert "x';" not in text
