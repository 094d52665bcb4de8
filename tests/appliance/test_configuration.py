"""The reference file loads as it is; what is wrong is named by file and field, and no value is repeated."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from connector.appliance.configuration import VCenterSection, from_yaml, parse
from connector.appliance.identity import ApplianceIdentity
from connector.appliance.snapshot_care.governor import Thresholds
from connector.errors import BadInput

REFERENCE = Path(__file__).parents[2] / "config" / "appliance.yaml"


def test_the_reference_file_loads() -> None:
    loaded = from_yaml(REFERENCE)
    assert loaded.passes == 2
    assert loaded.transfer.depth == 8


def test_the_reference_file_shows_the_governors_defaults() -> None:
    assert from_yaml(REFERENCE).governor == Thresholds()


def test_an_unknown_key_is_named() -> None:
    document = yaml.safe_load(REFERENCE.read_text()) | {"thumprint": "x"}
    with pytest.raises(BadInput, match="thumprint"):
        parse(document, "appliance.yaml")


def test_metrics_are_off_until_the_file_says_where() -> None:
    document = yaml.safe_load(REFERENCE.read_text())
    assert parse(document, "appliance.yaml").metrics is None
    served = parse(document | {"metrics": {"listen": 9472}}, "appliance.yaml").metrics
    assert served is not None and served.listen == 9472
    with pytest.raises(BadInput, match=r"metrics\.listen"):
        parse(document | {"metrics": {}}, "appliance.yaml")


def test_a_wrong_value_is_named_but_not_repeated() -> None:
    document = yaml.safe_load(REFERENCE.read_text())
    document["vcenter"]["password"] = ["s3cret"]
    with pytest.raises(BadInput, match=r"vcenter\.password") as refused:
        parse(document, "appliance.yaml")
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("field", "value", "refused"),
    [
        ("compression", "adaptive", ""),
        ("compression", "none", ""),
        ("compression", 3, ""),
        ("compression", "-5", ""),
        ("compression", "fast", "none, adaptive, or a zstd level from -7 to 22"),
        ("compression", 99, "none, adaptive, or a zstd level from -7 to 22"),
        ("compression", True, "none, adaptive, or a zstd level from -7 to 22"),
        ("compression", "3.5", "none, adaptive, or a zstd level from -7 to 22"),
        ("depth", 0, "greater than or equal to 1"),
        ("in_flight", 0, "greater than or equal to 1"),
        ("connections", -1, "greater than or equal to 1"),
    ],
)
def test_how_bytes_are_moved_is_checked_at_the_start_and_not_in_each_pass(
    field: str, value: object, refused: str
) -> None:
    document = yaml.safe_load(REFERENCE.read_text())
    document["transfer"][field] = value
    if refused:
        with pytest.raises(BadInput, match=rf"transfer\.{field}: .*{refused}"):
            parse(document, "appliance.yaml")
    else:
        assert parse(document, "appliance.yaml").transfer.compression == str(value)


def test_a_password_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("s3cret")
    file.chmod(0o640)
    section = VCenterSection(url="https://vc.example", user="me", password_file=file, thumbprint="A" * 40)
    with pytest.raises(BadInput, match=f"others can read the password file; chmod 600 {file}"):
        section.settings()
    file.chmod(0o600)
    assert section.settings().password.get_secret_value() == "s3cret"


def test_a_missing_password_file_is_one_line(tmp_path: Path) -> None:
    document = yaml.safe_load(REFERENCE.read_text())
    document["vcenter"]["password_file"] = str(tmp_path / "missing")
    with pytest.raises(BadInput) as refused:
        parse(document, "appliance.yaml").vcenter.settings()
    assert "\n" not in str(refused.value)


def test_a_missing_activation_code_is_one_line_that_names_the_file(tmp_path: Path) -> None:
    document = yaml.safe_load(REFERENCE.read_text())
    document["state"] = str(tmp_path)
    document["control"]["activation_code_file"] = str(tmp_path / "missing.code")
    with pytest.raises(BadInput, match=r"missing\.code") as refused:
        ApplianceIdentity(parse(document, "appliance.yaml"), "uuid")
    assert "\n" not in str(refused.value)
