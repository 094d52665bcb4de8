"""Private parts of libraries that we use are there, in the versions that are pinned; docs/decisions/0100 lists them.

A failure here says what breaks when a library is renewed, before anything else fails in a way that says less.
"""

from __future__ import annotations

import tomllib
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]

#: Distribution, module, object ("" for the module itself), attributes, and where we need them.
PARTS: Final = (
    ("uvicorn", "uvicorn.protocols.http.h11_impl", "H11Protocol",
     "connection_made data_received connection_lost on_response_complete pause_writing resume_writing",
     "connector/control/http/connections.py drops slow clients; connector/instance/server.py refuses foreign roles"),
    ("uvicorn", "uvicorn", "Server", "_serve serve", "connector/instance/server.py serves without uvicorn's signal handlers"),
    ("uvicorn", "uvicorn", "Config", "load", "connector/instance/server.py sets its own TLS context after load()"),
    ("pyvmomi", "pyVmomi.SoapAdapter", "SoapStubAdapter", "InvokeMethod GetConnection ReturnConnection SerializeRequest",
     "connector/vcenter/stub.py makes each call on a verified connection"),
    ("pyvmomi", "pyVmomi.SoapAdapter", "SoapDeserializer", "StartElementHandler EndElementHandler SplitTag LookupWsdlType",
     "connector/vcenter/reading.py passes over parts that its tables do not know"),
    ("pyvmomi", "pyVmomi.SoapAdapter", "SoapResponseDeserializer", "StartElementHandler EndElementHandler Deserialize",
     "connector/vcenter/reading.py reads answers"),
    ("pyvmomi", "pyVmomi.VmomiSupport", "", "GetWsdlType GetVmodlType GetServiceVersions IsChildVersion ListDataTypes "
     "ListManagedTypes ListEnumTypes Array DataObject ManagedObject Enum CreateManagedType CreateDataType",
     "connector/vcenter/{reading,sound,scrub,properties,session}.py ask the API's tables; nfc_tickets.py adds to them"),
    ("pyvmomi", "pyVmomi.VmomiSupport", "DataObject", "_GetPropertyInfo _GetPropertyList",
     "connector/vcenter/{reading,sound,scrub,properties}.py ask which properties a type has"),
    ("dbos", "dbos._serialization", "DefaultSerializer", "deserialize",
     "connector/control/engine/rows.py refuses rows that carry pickles"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("module", "owner", "attributes", "user"),
    [part[1:] for part in PARTS],
    ids=[f"{p[1]}.{p[2]}" for p in PARTS],
)
def test_what_we_use_of_a_library_is_there(module: str, owner: str, attributes: str, user: str) -> None:
    home = import_module(module)
    holder = getattr(home, owner) if owner else home
    missing = [name for name in attributes.split() if not hasattr(holder, name)]
    assert not missing, f"{module}.{owner} has no {', '.join(missing)} any more: {user}"


def test_their_versions_are_bounded() -> None:
    """A version that nobody has tried is not installed by accident."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bounded = {
        line.partition("==")[0].partition(">")[0]
        for line in project["dependencies"]
        if "<" in line or "==" in line
    }
    assert {distribution for distribution, *_ in PARTS} <= bounded


def test_the_decision_lists_them() -> None:
    (page,) = (ROOT / "docs" / "decisions").glob("0100-*.md")
    text = page.read_text()
    for distribution, module, owner, attributes, _ in PARTS:
        assert version(distribution)
        for name in [owner or module, *attributes.split()]:
            assert f"`{name}`" in text, name
