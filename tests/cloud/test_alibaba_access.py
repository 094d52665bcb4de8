"""The access key: where it comes from, who may read it, what is said when it is missing; and an SDK that is not there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from connector.cloud.alibaba.credentials import VARIABLES, CloudAccessKey, Credentials
from connector.cloud.alibaba.provider import AlibabaProvider
from connector.errors import BadInput
from tests.cloud.alibaba import Cloud, access_key_file
from tests.cloud.ledger import MemoryLedger

SECRET = "s3cret-of-somebody"


def file(tmp_path: Path, content: str, mode: int = 0o600) -> Path:
    path = tmp_path / "key"
    path.write_text(content)
    path.chmod(mode)
    return path


def test_a_file_is_read_and_read_again_when_it_was_replaced(tmp_path: Path) -> None:
    path = file(tmp_path, f"access_key_id: one\naccess_key_secret: {SECRET}\n")
    credentials = Credentials(path, {})
    assert credentials.current() == CloudAccessKey("one", SECRET)
    new = tmp_path / "new"
    new.write_text("access_key_id: two\naccess_key_secret: x\nsecurity_token: t\n")
    new.chmod(0o600)
    new.replace(path)
    assert credentials.current() == CloudAccessKey("two", "x", "t")


def test_the_environment_has_the_names_that_the_clouds_own_tools_use() -> None:
    names = dict(zip(VARIABLES, ("id", SECRET, "token"), strict=True))
    assert Credentials(None, names).current() == CloudAccessKey("id", SECRET, "token")
    assert VARIABLES[0] == "ALIBABA_CLOUD_ACCESS_KEY_ID"
    with pytest.raises(BadInput, match="there is no access key"):
        Credentials(None, {VARIABLES[0]: "id"}).current()


@pytest.mark.parametrize(
    ("content", "mode", "says"),
    [
        (f"access_key_id: a\naccess_key_secret: {SECRET}\n", 0o644, "others may read"),
        (f"access_key_secret: {SECRET}\n", 0o600, "holds no access key"),
        (f"access_key_id: a\naccess_key_secret: {SECRET}\nregion: x\n", 0o600, "holds no access key"),
        (f"{SECRET}\n", 0o600, "holds no access key"),
        (f"access_key_id: [{SECRET}\n", 0o600, "holds no access key"),
    ],
)
def test_a_file_that_will_not_do_is_one_line_without_its_content(
    tmp_path: Path, content: str, mode: int, says: str
) -> None:
    with pytest.raises(BadInput, match=says) as refused:
        Credentials(file(tmp_path, content, mode), {}).current()
    assert SECRET not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_key_does_not_show_its_secret() -> None:
    assert SECRET not in repr(CloudAccessKey("id", SECRET, SECRET))


def test_a_provider_without_a_key_is_not_made(quiet: Cloud, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        AlibabaProvider(quiet.settings(access_key_file=str(tmp_path / "missing")), MemoryLedger(), tmp_path)


def test_a_renewed_temporary_key_is_used_at_the_next_call(quiet: Cloud) -> None:
    provider = quiet.provider(boots=False)
    assert provider.find("instance-j-1") is None
    path = access_key_file(quiet.files)
    path.write_text("access_key_id: nobody\naccess_key_secret: x\n")
    with pytest.raises(Exception, match=r"InvalidAccessKeyId\.NotFound.*check the access key"):
        provider.find("instance-j-1")


def test_without_the_sdk_one_line_says_what_to_install(tmp_path: Path) -> None:
    """In a process of its own, where the SDK cannot be found."""
    program = """
import sys
for name in ("alibabacloud_ecs20140526", "alibabacloud_ecs20140526.client"):
    sys.modules[name] = None
import connector.control.__main__
from connector.cloud.alibaba.sdk import load
from connector.errors import BadInput
try:
    load()
except BadInput as refused:
    print(refused)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    (line,) = done.stdout.splitlines()
    assert "the SDK of Alibaba Cloud is not installed" in line
    assert "pip install 'agentless-connector[alibaba]'" in line
