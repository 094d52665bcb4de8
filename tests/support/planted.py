"""An installation of all three roles in one directory, with secrets and names planted wherever ours may have them."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa

from connector.control.store import tables
from connector.instance.journal import Journal
from connector.instance.records import TargetRecord
from tests.control import fresh

PASSWORD = 'Tr0ub4dor "&\\3 välk/om+men'
CODE = "h7Yq2LkR9vTzX4pWc8NmB1sDfGj5KaQe"
APPLIANCE = "bXk9-Wq3_RtY7uI0pLz5Xc2vBn8MaSd4FgHj6KlQwEr"
OWNER = "Zr4Kt8Wq1Xm5Ny9Lp3Vs7Bd2Fg6Hj0CkRtYuIoPa"
CLOUD = "d41RWxyzQpLmNoKj87Gh65FdSaZxCv"
DATABASE = "pg/pass@word:1"
GUEST = b"GUESTBYTES-0123456789"
VAULT = "3yVqA0h4uQbqXGv5o8m1k9c2LwzRt7nPdJfEeHsKaQI="
MACHINES = ("payroll-db-07", "Zeus Primary", "backup")
HOSTS = ("vc.acme-bank.example", "esx-frankfurt-3.acme-bank.example")
ADDRESSES = ("10.77.3.12", "fe80::dead:beef:1234")
KEY = "".join(base64.b64encode(bytes((n * 37 + k) % 256 for n in range(48))).decode() for k in range(4))
PEM = "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n".format(
    "\n".join(KEY[at : at + 64] for at in range(0, len(KEY), 64))
)
SECRETS = (PASSWORD, CODE, APPLIANCE, OWNER, CLOUD, DATABASE, VAULT)


def spellings() -> list[str]:
    """Lines of a log with each secret, in the ways in which programs write one."""
    lines = []
    for secret in SECRETS:
        once = json.dumps(secret)
        lines += [
            f"login with {secret} was refused",
            f"body: {once}",
            f"body in a body: {json.dumps({'body': once})}",
            f"GET /x?y={quote(secret, safe='')}&z=1",
            f"twice {quote(quote(secret, safe=''), safe='')}",
            *(
                f"base64 {base64.b64encode(before + secret.encode() + b'tail').decode()}"
                for before in (b"", b"a", b"ab")
            ),
            f"hex {secret.encode().hex()}",
            f"repr {secret!r}",
            f"wrapped {secret[:9]}\n    {secret[9:]}",
            f"wrapped in JSON {secret[:9]}\\n{secret[9:]}",
        ]
    lines += [f"key in one line {json.dumps(PEM)}", *(f"piece of a key: {line}" for line in PEM.splitlines())]
    return [
        *lines,
        "postgresql://connector:unknown-Pg-1@db.example/x is not there",
        "hook https://user:unknown-Hook-2@hooks.example/in and https://unknown-Hook-3@hooks.example",
        "hook https://hooks.example/in?access_token=unknown-Query-4&x=1",
        'answer {"access_key_secret": "unknown-Json-5", "count": 1}',
        'again {\\"password\\": \\"unknown-Json-6\\"}',
        "Authorization: Bearer unknown-Bearer-7",
        "Cookie: session=unknown-Cookie-8; other=unknown-Cookie-9",
        "<password>unknown-Xml-10</password>",
        "SecretToken%22%3A%22unknown-Percent-11%22",
        "password='unknown-Torn-12 without an end",
        "x-acs-security-token=STS.unknownSts13abcdef",
    ]


UNKNOWN = tuple(
    word.strip("';\"\\,")
    for line in spellings()
    for word in line.replace("=", " ")
    .replace(":", " ")
    .replace("@", " ")
    .replace("<", " ")
    .replace(">", " ")
    .replace("%22", " ")
    .replace("/", " ")
    .replace("&", " ")
    .replace('"', " ")
    .replace(";", " ")
    .split()
    if word.startswith(("unknown-", "unknownSts"))
)


@dataclass
class Planted:
    """Where things are."""

    home: Path
    words: list[str] = field(default_factory=list)

    @property
    def etc(self) -> Path:
        return self.home / "etc"

    @property
    def log(self) -> Path:
        return self.home / "appliance.log"

    @property
    def database(self) -> Path:
        return self.home / "control" / "control.sqlite"

    def options(self) -> list[str]:
        return [
            *("--appliance", str(self.etc / "appliance.yaml")),
            *("--control", str(self.etc / "control-plane.yaml")),
            *("--instance", str(self.home / "instance")),
            *("--log", str(self.log)),
        ]


def plant(home: Path) -> Planted:
    """Make it."""
    planted = Planted(home)
    for name in ("etc", "appliance", "control", "instance/disks/2000"):
        (home / name).mkdir(parents=True)
    _configurations(planted)
    _state(planted)
    _rows(planted)
    _instance(home / "instance" / "disks" / "2000")
    words = [
        f"2026-11-30T10:00:00Z machine {m} on {h} at {a}" for m in MACHINES for h in HOSTS for a in ADDRESSES
    ]
    hostile = "evil \x1b[31mred\x1b[0m\rforged \x00\u202e"
    planted.log.write_text("\n".join([*spellings(), *words, hostile, "last line"]) + "\n")
    return planted


def _configurations(planted: Planted) -> None:
    home, etc = planted.home, planted.etc
    (etc / "password").write_text(PASSWORD + "\n")
    (etc / "code").write_text(CODE + "\n")
    (etc / "cloud.key").write_text(f"access_key_id: LTAI5tExampleExample\naccess_key_secret: {CLOUD}\n")
    for name in ("password", "code", "cloud.key"):
        (etc / name).chmod(0o600)
    (etc / "appliance.yaml").write_text(
        f"""# the old password was commented-Secret-1
name: site-frankfurt
vcenter:
  url: https://{HOSTS[0]}
  user: svc-migrate@acme.local
  password: {json.dumps("inline-Secret-2")}
  password_file: {etc / "password"}
  thumbprint: AA:BB
control:
  url: https://{HOSTS[0]}:8443
  thumbprint: CC:DD
  activation_code_file: {etc / "code"}
  activation_cod: mistyped-Secret-3
https:
  pins: {{"{HOSTS[1]}": "{"ab" * 32}"}}
state: {home / "appliance"}
passes: 3
"""
    )
    (etc / "control-plane.yaml").write_text(
        f"""state: {home / "control"}
port: 8443
provider: alibaba
limits: {{host_disks: 8}}
alibaba:
  region: cn-hangzhou
  access_key_file: {etc / "cloud.key"}
  secret_thing: mistyped-Secret-4
"""
    )


def _state(planted: Planted) -> None:
    appliance, control = planted.home / "appliance", planted.home / "control"
    (appliance / "membership.json").write_text(
        json.dumps({"control": "CC:DD", "vcenter": "v-1", "appliance_id": "a-1", "secret": APPLIANCE})
    )
    (appliance / "evidence-key.pem").write_text(PEM)
    (control / "vault-key").write_text(VAULT + "\n")
    (control / "activation-code").write_text(CODE + "\n")
    (control / "access-key.toml").write_text(f'access_key_id = "AK1"\naccess_key_secret = "{OWNER}"\n')
    (control / "control.pem").write_text(PEM)


def _rows(planted: Planted) -> None:
    engine = sa.create_engine(fresh.sqlite(planted.database))
    error = {
        "error": "VCenterFault",
        "what": f"login with {PASSWORD} failed",
        "on": MACHINES[0],
        "remedy": "",
    }
    with engine.begin() as connection:
        for n, name in enumerate(MACHINES):
            connection.execute(
                tables.sources.insert().values(
                    id=f"s-{n}", vcenter="v-1", moref=f"vm-{n}", instance_uuid=f"u-{n}", name=name, state="Available", reason="",
                    facts={"host": HOSTS[1], "addresses": list(ADDRESSES)}, findings=[], seen=1.0, created=1.0, machine=name,
                )
            )  # fmt: skip
            connection.execute(
                tables.jobs.insert().values(
                    id=f"j-{n}", source_id=f"s-{n}", name=f"{name}_job", status="InError", business="x", run_once=True,
                    last_sync=False, image_name=name, image_format="qcow2", shutdown_deadline=1.0, allow_power_off=False,
                    cutover=False, error=error, created=1.0, changed=1.0, authority="gAAAAABsealedsealedsealedsealedsealed",
                )
            )  # fmt: skip
            connection.execute(
                tables.events.insert().values(
                    job_id=f"j-{n}", at=1.0, kind="failed", text=f"{name}: {CODE} at {HOSTS[1]}"
                )
            )
        connection.execute(
            tables.access_keys.insert().values(
                id="AK1",
                sealed="gAAAAABsealedsealedsealedsealedsealed",
                role="admin",
                name="me",
                created=1.0,
                disabled=False,
            )
        )
    engine.dispose()


def _instance(disk: Path) -> None:
    Journal.renew(disk / "journal", "2000", 1 << 30, TargetRecord("ab" * 16))
    (disk / "data").write_bytes(GUEST * 1000)
    (disk / "disk.json").write_text(json.dumps({"capacity": 1 << 30, "label": "Hard disk 1"}))


def unpacked(file: Path) -> dict[str, bytes]:
    """What is in a bundle, by its path."""
    with tarfile.open(fileobj=io.BytesIO(file.read_bytes()), mode="r:gz") as archive:
        return {
            member.name.partition("/")[2]: stream.read()
            for member in archive
            if (stream := archive.extractfile(member)) is not None
        }


def squeezed(content: bytes) -> str:
    """Without what may stand between the parts of a wrapped secret."""
    return "".join(content.decode().replace("\\n", "").split())
