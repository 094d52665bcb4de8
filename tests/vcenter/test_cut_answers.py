"""An answer that is cut anywhere is a broken connection, which reading outlasts; never a shorter answer."""

from __future__ import annotations

import io

import pytest

from connector.vcenter.stub import BROKEN, _whole
from connector.vcenter.vmomi import SoapResponseDeserializer
from tests.vcenter.test_answer import RESULT, objects, rows

DOCUMENT = objects(
    '<obj type="VirtualMachine">vm-1</obj><propSet><name>name</name><val xsi:type="xsd:string">wéb</val></propSet>'
)


@pytest.mark.parametrize("reader", ["pyvmomi", "fast"])
def test_an_answer_cut_at_any_byte_is_a_broken_connection(reader: str) -> None:
    for cut in range(len(DOCUMENT)):
        with pytest.raises(BROKEN), _whole():
            if reader == "fast":
                rows(DOCUMENT[:cut])
            else:
                SoapResponseDeserializer(None).Deserialize(io.BytesIO(DOCUMENT[:cut]), RESULT)
