"""What the local provider says of a conversion that a child process did, or could not do."""

from __future__ import annotations

from pathlib import Path

import pytest

from connector.cloud import conversion_child
from connector.cloud.local import LocalProvider

BOOT = {"boots": True, "outcome": "login prompt", "reason": "", "seconds": 31.4}
ROW = {"path": "/etc/fstab", "why": "x"}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"conversion": {"changes": []}, "refusal": ""}, ["nothing had to be converted"]),
        ({"refusal": "web: it is encrypted"}, ["not converted: web: it is encrypted"]),
        ({"refusal": "", "boot": BOOT}, ["a copy boots: login prompt after 31 s"]),
        (
            {"refusal": "", "boot": BOOT | {"boots": False, "outcome": "kernel panic", "reason": "no root"}},
            ["a copy DOES NOT BOOT: kernel panic (no root) after 31 s"],
        ),
    ],
)
def test_notes_are_sentences(tmp_path: Path, answer: dict[str, object], expected: list[str]) -> None:
    result = conversion_child.result(tmp_path, answer)
    assert list(result.notes) == expected
    assert result.location == ""


def test_a_converted_copy_is_named(tmp_path: Path) -> None:
    (tmp_path / "converted").mkdir()
    result = conversion_child.result(tmp_path, {"conversion": {"changes": [ROW]}, "refusal": ""})
    assert result.location == str(tmp_path / "converted")
    assert result.notes == (f"converted copy with 1 change: {tmp_path / 'converted'}",)


def test_without_the_tools_a_provider_offers_no_conversion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "qemu" in conversion_child.trouble()
    provider = LocalProvider(tmp_path / "cloud")
    assert [word for word in ("image files", "conversion") if provider.offers(word)] == ["image files"]
    provider.close()


@pytest.mark.parametrize(
    ("network", "expected"), [("dhcp", "not converted: "), ("none", "no copy was started: ")]
)
def test_what_fails_after_the_image_is_whole_is_a_note(tmp_path: Path, network: str, expected: str) -> None:
    """At a cutover the source is down: a conversion that fails must not make the run fail."""
    result = conversion_child.convert(tmp_path, network, boot_check=True, module="connector.no_such_program")
    (note,) = result.notes
    assert note.startswith(expected)
    assert result.location == ""


def test_a_start_that_fails_is_a_note_beside_the_conversion(tmp_path: Path) -> None:
    answer = {"conversion": {"changes": []}, "refusal": "", "boot_refusal": "web: writes without end"}
    notes = conversion_child.result(tmp_path, answer).notes
    assert notes == ("nothing had to be converted", "no copy was started: web: writes without end")
