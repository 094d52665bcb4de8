"""The parser of parameters: typed or refused, never anything else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.control.smc.catalogue import Denied, code_of
from connector.control.smc.parameters import parse
from connector.specification import kinds
from connector.specification.value import Flag, ListOf, Moment, OneOf, Parameter, Struct, Text, Whole

TABLE = (
    Parameter("JobId", ListOf(kinds.ID, 3)),
    Parameter("Name", kinds.NAME),
    Parameter("RunOnce", Flag()),
    Parameter("Frequency", Whole(1, 168)),
    Parameter("ValidTime", Moment()),
    Parameter("TargetType", kinds.TARGET),
    Parameter("LicenseType", OneOf(("", "BYOL"))),
    Parameter("Description", Text(0, 5)),
    Parameter("ReplicationParameters", kinds.REPLICATION),
    Parameter("Tag", kinds.tags()),
    kinds.DATA_DISKS,
    kinds.DISKS,
)


def refusal(given: dict[str, str], table: tuple[Parameter, ...] = TABLE) -> str:
    with pytest.raises(Denied) as refused:
        parse(table, given)
    return refused.value.code


def test_lists_and_structures_are_folded() -> None:
    given = {
        "DataDisk.1.Index": "1",
        "DataDisk.1.Size": "20",
        "DataDisk.1.Part.1.Device": "1_1",
        "DataDisk.1.Part.1.SizeBytes": "5",
        "DataDisk.2.Index": "2",
        "Disks.System.Part.1.Path": "/",
        "Disks.Data.1.DiskId": "d-1",
        "JobId.2": "j-2",
        "JobId.1": "j-1",
        "Tag.1.Key": "k",
        "Tag.1.Value": "",
    }
    assert parse(TABLE, given) == {
        "DataDisk": [{"Index": 1, "Size": 20, "Part": [{"Device": "1_1", "SizeBytes": 5}]}, {"Index": 2}],
        "Disks": {"System": {"Part": [{"Path": "/"}]}, "Data": [{"DiskId": "d-1"}]},
        "JobId": ["j-1", "j-2"],
        "Tag": [{"Key": "k", "Value": ""}],
    }


@pytest.mark.parametrize("text, value", [("True", True), ("false", False), ("TRUE", True)])
def test_booleans_in_any_case(text: str, value: bool) -> None:
    assert parse(TABLE, {"RunOnce": text}) == {"RunOnce": value}


def test_types() -> None:
    given = {
        "Frequency": "12",
        "ValidTime": "2026-11-23T01:00:00Z",
        "TargetType": "instance",
        "LicenseType": "",
        "Description": "",
        "Name": "",
        "ReplicationParameters": '{"bandwidth_limit":0,"checksum":true,"compress_level":"7"}',
    }
    assert parse(TABLE, given) == {
        "Frequency": 12,
        "ValidTime": 1795395600.0,
        "TargetType": "TargetInstance",
        "LicenseType": "",
        "Description": "",
        "ReplicationParameters": {"bandwidth_limit": 0, "checksum": 1, "compress_level": 7},
    }


@pytest.mark.parametrize(
    "name, value, code",
    [
        ("Frequency", "0", "InvalidParameter.Frequency"),
        ("Frequency", "169", "InvalidParameter.Frequency"),
        ("Frequency", "1.0", "InvalidParameter.Frequency"),
        ("Frequency", "٣", "InvalidParameter.Frequency"),
        ("Frequency", "1\n", "InvalidParameter.Frequency"),
        ("RunOnce", "yes", "InvalidParameter.RunOnce"),
        ("ValidTime", "2026-13-23T01:00:00Z", "InvalidParameter.ValidTime"),
        ("ValidTime", "tomorrow", "InvalidParameter.ValidTime"),
        ("TargetType", "Disk", "InvalidParameter.TargetType"),
        ("LicenseType", "byol", "InvalidParameter.LicenseType"),
        ("Description", "123456", "InvalidParameter.Description"),
        ("Description", "a\x00b", "InvalidParameter.Description"),
        ("ReplicationParameters", "{", "InvalidParameter.ReplicationParameters"),
        ("ReplicationParameters", '{"other":1}', "InvalidParameter.ReplicationParameters"),
        ("ReplicationParameters", '{"compress_level":11}', "InvalidParameter.ReplicationParameters"),
        ("ReplicationParameters", "[" * 2000, "InvalidParameter.ReplicationParameters"),
        ("JobId.0", "j", "InvalidParameter.JobId"),
        ("JobId.x", "j", "InvalidParameter.JobId"),
        ("JobId.1", "", "InvalidParameter.JobId"),
        ("JobId", "j", "UnknownParameter"),
        ("Nonsense", "1", "UnknownParameter"),
        ("name", "ab", "UnknownParameter"),
        ("Tag.1.Value", "v", "MissingParameter.Tag.1.Key"),
        ("DataDisk.1.Other", "v", "MissingParameter.DataDisk.1.Index"),
        ("Disks.System.Other", "v", "UnknownParameter"),
    ],
)
def test_wrong_values_have_a_code(name: str, value: str, code: str) -> None:
    assert refusal({name: value}) == code


@pytest.mark.parametrize("name", ["a", "1ab", "http://ab", "a b", "a.b", "a" * 129, "ab\n", "-ab", "ä1"])
def test_x1_names_that_are_refused(name: str) -> None:
    assert refusal({"Name": name}) == "InvalidParameter.Name"


@pytest.mark.parametrize("name", ["ab", "a1:_-", "A" * 128])
def test_x1_names_that_are_taken(name: str) -> None:
    assert parse(TABLE, {"Name": name}) == {"Name": name}


@pytest.mark.parametrize("key", ["aliyun-1", "acs:x", "http://x", "ACS:x"])
def test_x16_reserved_tag_keys_are_refused(key: str) -> None:
    assert refusal({"Tag.1.Key": key}) == "InvalidParameter.Tag.1.Key"


def test_x16_too_many_tags_and_repeated_keys() -> None:
    assert refusal({f"Tag.{n}.Key": f"k{n}" for n in range(1, 22)}) == "NumberExceed.Tags"
    assert refusal({"Tag.1.Key": "k", "Tag.2.Key": "k"}) == "Duplicate.TagKey"


def test_lists_have_limits_and_disks_are_listed_once() -> None:
    assert refusal({f"JobId.{n}": "j" for n in range(1, 5)}) == "NumberExceed.JobId"
    assert refusal({"DataDisk.1.Index": "1", "DataDisk.2.Index": "1"}) == "DataDisk.DuplicateIndex"


def test_legacy_account_fields_are_ignored() -> None:
    assert parse(TABLE, {"OwnerId": "1", "ResourceOwnerAccount": "a", "RegionId": "r"}) == {}


def test_required() -> None:
    table = (Parameter("JobId", kinds.ID, required=True), Parameter("S", Struct((Parameter("A", Flag()),))))
    assert refusal({}, table) == refusal({"JobId": ""}, table) == "MissingParameter.JobId"


@given(
    st.dictionaries(
        st.one_of(
            st.sampled_from(
                ["JobId.1", "Tag.1.Key", "DataDisk.1.Part.1.Device", "ReplicationParameters", "Name"]
            ),
            st.text(max_size=12),
        ),
        st.one_of(
            st.text(max_size=30), st.sampled_from(["true", "1", '{"checksum":1e400}', "NaN", "\uff19"])
        ),
        max_size=5,
    )
)
def test_nothing_but_values_or_a_known_code_comes_out(given: dict[str, str]) -> None:
    try:
        parse(TABLE, given)
    except Denied as refused:
        assert code_of(refused.code).status == refused.status
