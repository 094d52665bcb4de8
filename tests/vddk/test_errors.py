"""Every code has a type, a cause and a remedy; every error survives the way between processes."""

import dataclasses
import inspect
import json
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vddk import errors
from vddk.codes import CODES, HINTS, Hint
from vddk.errors import (
    CLASSES,
    UnknownVixError,
    VddkError,
    VersionOutsideRange,
    VixError,
    check_versions,
    from_fields,
    from_value,
    to_fields,
)

PUBLISHED = (
    *range(1, 14), 15, 16, 20, 21, 22, 24, 25, 26, 30, 31, 32, 34, 35, 36, 44, 1000, 1001, 1002,
    3014, 3046, 3047, 4000, *range(13014, 13020), 14004, *range(14006, 14012), 14014, 14015,
    *range(16000, 16004), *range(16006, 16009), *range(16010, 16015), 16017, 16027, 16028, 16030,
    *range(16052, 16055), *range(16061, 16070), *range(18000, 18003), 25000, 26000,
    30006, 30007, 30028, 30035, 30201,
)  # fmt: skip
RETRYABLE = {
    2, 5, 7, 10, 15, 26, 31, 34, 36, 1002, 3046, 13014, 14006, 14007, 14010, 14011, 14014, 14015,
    16002, 16027, 18000, 30007, 30028, 30035,
}  # fmt: skip


def test_the_table_has_exactly_the_published_codes() -> None:
    assert sorted(CODES) == sorted(PUBLISHED)
    assert {code for code, row in CODES.items() if row.retryable} == RETRYABLE


@pytest.mark.parametrize("code", PUBLISHED)
@pytest.mark.parametrize("above", [0, 1 << 16, 0xDEADBEEF << 32])
def test_every_code_has_its_type_whatever_stands_above_it(code: int, above: int) -> None:
    error = from_value(code | above, "Open", "[ds] a.vmdk", "the library's words")
    assert type(error) is CLASSES[CODES[code].family]
    assert (error.code, error.value, error.retryable) == (code, code | above, code in RETRYABLE)
    text = str(error)
    for part in (CODES[code].name, CODES[code].cause, CODES[code].remedy, "[ds] a.vmdk", "Open", "words"):
        assert part in text
    assert "\n" not in text


@given(st.integers(min_value=1, max_value=(1 << 64) - 1))
def test_unknown_codes_have_a_type_too(value: int) -> None:
    error = from_value(value, "Read")
    assert (error.code in CODES) != (type(error) is UnknownVixError)
    assert error.remedy and str(value & 0xFFFF) in str(error)


def test_families_are_classes_and_all_are_used() -> None:
    families = {row.family for row in CODES.values()} | {hint.family for hint in HINTS}
    unused = {name for name, cls in CLASSES.items() if issubclass(cls, VixError)} - families
    assert unused == {"VixError", "UnknownVixError"}


def test_the_docstring_draws_the_whole_tree() -> None:
    drawn = inspect.getdoc(errors) or ""
    assert all(name in drawn for name, cls in CLASSES.items() if not issubclass(cls, VixError))


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_every_error_crosses_processes_unchanged(name: str) -> None:
    cls = CLASSES[name]
    made: dict[object, object] = {int: 7, str: "some text", float: 1.5, tuple[str, ...]: ("a", "b")}
    error = from_fields(name, {field.name: made[field.type] for field in dataclasses.fields(cls)})
    again = from_fields(name, json.loads(json.dumps(to_fields(error))))
    for copy in (again, pickle.loads(pickle.dumps(error))):
        assert type(copy) is cls and str(copy) == str(error) and to_fields(copy) == to_fields(error)
    assert str(error) and "{" not in str(error)


@pytest.mark.parametrize("hint", HINTS)
def test_a_log_line_can_say_more_than_the_code(hint: Hint) -> None:
    error = from_value(1, "Open", "d", "Unknown error", ("first", f"before {hint.text} after", "last"))
    assert type(error).__name__ == hint.family
    assert f"before {hint.text} after" in str(error) and error.retryable == hint.retryable
    assert type(from_value(1, "Open", log=("nothing of note",))).__name__ == "UnexplainedFailure"


@pytest.mark.parametrize(
    ("vddk", "vsphere", "fits"),
    [
        ("8.0.3", "6.7.0", True), ("8.0", "7.0.3", True), ("8.0", "8.0.2", True), ("8.0", "9.0", True),
        ("8.0.3", "6.5", False), ("9.0.1", "7.0", True), ("9.0", "6.7", False), ("9.1", "5.5", False),
        ("9.0", "10.0", True), ("8.0", "10.0", False), ("6.7.3", "6.0", True), ("6.7", "8.0", False),
        ("7.0.3.2", "6.5.0", True), ("7.0", "6.0", False), ("7.0", "8.0-24022510", True),
        ("8.0", "4.1", False),
    ],
)  # fmt: skip
def test_vddk_meets_two_older_and_one_newer_release(vddk: str, vsphere: str, fits: bool) -> None:
    if fits:
        check_versions(vddk, vsphere)
        return
    with pytest.raises(VersionOutsideRange) as caught:
        check_versions(vddk, vsphere)
    assert vddk in str(caught.value) and vsphere in str(caught.value)


@pytest.mark.generated
def test_the_documentation_has_the_current_table() -> None:
    page = (Path(__file__).parents[2] / "docs" / "vddk.md").read_text()
    assert errors.markdown_table() in page


def test_retries_are_never_promised_for_what_needs_a_person() -> None:
    for row in CODES.values():
        if row.family in (
            "AuthenticationFailed",
            "SessionExpired",
            "AccessDenied",
            "UntrustedServer",
            "LicenseMissing",
        ):
            assert not row.retryable
    assert not VddkError().retryable
