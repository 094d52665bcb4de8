"""The reference file loads as it is; what is wrong is named by file and field, and no value is repeated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from connector.cloud import factory
from connector.cloud.alibaba import settings as alibaba
from connector.control import configuration
from connector.control.__main__ import command
from connector.control.store import Quotas
from connector.errors import BadInput
from connector.instance import user_data
from connector.instance.__main__ import main as instance

REFERENCE = Path(__file__).parents[2] / "config" / "control-plane.yaml"


def written(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "control.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def test_the_reference_file_loads() -> None:
    loaded = configuration.load(REFERENCE)
    assert loaded.options()["port"] == 8443
    Quotas.of(loaded.options()["limits"])
    assert loaded.alibaba is not None
    settings = alibaba.parse(loaded.alibaba, "alibaba")
    assert settings.reachable_from == ("198.51.100.7/32", "203.0.113.0/28")
    assert settings.disk_categories[0] == "cloud_essd"


@pytest.mark.parametrize(
    ("listen", "option"), [(9471, "9471"), ("10.0.0.5:9471", "10.0.0.5:9471"), ("[::1]:0", "[::1]:0")]
)
def test_metrics_are_served_where_the_file_says(tmp_path: Path, listen: Any, option: str) -> None:
    loaded = configuration.load(written(tmp_path, {"metrics": {"listen": listen}}))
    assert loaded.options()["metrics"] == option
    assert "metrics" not in configuration.load(REFERENCE).options()


@pytest.mark.parametrize("section", [{}, {"listen": None}, {"listen": 1, "tls": True}, "9471"])
def test_a_wrong_section_for_metrics_is_named(tmp_path: Path, section: Any) -> None:
    with pytest.raises(BadInput, match="metrics"):
        configuration.load(written(tmp_path, {"metrics": section}))


def test_an_address_for_metrics_that_is_none_ends_the_start_with_one_line(tmp_path: Path) -> None:
    words = ["--state", str(tmp_path / "state"), "--images", str(tmp_path / "i"), "--metrics", "nowhere"]
    done = CliRunner().invoke(command, words)
    assert isinstance(done.exception, BadInput)
    assert str(done.exception) == (
        "metrics 'nowhere': is no address to listen on; give HOST:PORT, or a port alone for 127.0.0.1"
    )


def test_every_setting_of_the_cloud_is_explained_in_the_reference_file() -> None:
    text = REFERENCE.read_text()
    assert [name for name in alibaba.AlibabaSettings.model_fields if f"{name}:" not in text] == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"reachable_from": []}, "reachable_from"),
        ({"reachable_from": ["10.0.0.1/8"]}, "reachable_from"),
        ({"reachable_from": ["everybody"]}, "reachable_from"),
        ({"regoin": "x"}, "regoin"),
        ({"images": {"arm64": "m-1"}}, r"images\.x86_64"),
        ({"network": "172.16.0.0/28"}, "network"),
        ({"tags": {"connector-token": "mine"}}, "tags"),
        ({"stopped_mode": "Off"}, "stopped_mode"),
    ],
)
def test_a_wrong_setting_is_named_but_not_repeated(change: dict[str, Any], says: str) -> None:
    section = dict(configuration.load(REFERENCE).alibaba or {})
    with pytest.raises(BadInput, match=says) as refused:
        alibaba.parse(section | change, "control.yaml")
    assert "\n" not in str(refused.value)
    assert "everybody" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"prot": 1}, "prot"),
        ({"port": 70000}, "port"),
        ("{", r"is no YAML"),
        ({"provider": "aws"}, "provider"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path: Path, content: Any, says: str) -> None:
    with pytest.raises(BadInput, match=says) as refused:
        configuration.load(written(tmp_path, content))
    assert "\n" not in str(refused.value)
    with pytest.raises(BadInput, match="cannot be read"):
        configuration.load(tmp_path / "missing")


def test_each_cloud_says_what_it_needs() -> None:
    with pytest.raises(BadInput, match="needs a place for images"):
        factory.choose("local", None, None, "--config", Path("state"))
    with pytest.raises(BadInput, match="needs its section"):
        factory.choose("alibaba", None, None, "--config", Path("state"))


def test_options_count_more_than_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, {"state": str(tmp_path / "state"), "provider": "alibaba", "grace": 5})
    refused = CliRunner().invoke(command, ["--config", str(path)])
    assert isinstance(refused.exception, BadInput)
    assert "needs its section" in str(refused.exception)
    other = CliRunner().invoke(command, ["--config", str(path), "--provider", "local"])
    assert "needs a place for images" in str(other.exception)
    assert "Missing option '--state'" in CliRunner().invoke(command, []).output


def test_the_service_of_the_instance_image_has_options_that_exist() -> None:
    unit = (
        (REFERENCE.parents[1] / "deploy" / "systemd" / "connector-instance.service")
        .read_text()
        .replace("\\\n", " ")
    )
    (line,) = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
    words = line.split()[1:]
    assert words[:3] == ["-I", "-m", "connector.instance"]
    given = instance.make_context("connector.instance", words[3:]).params
    assert str(given["devices"]) == "/dev"
    assert given["user_data"] == user_data.METADATA
