"""Whatever a guest holds: a plan comes soon, planning again gives nothing, and what is not meant stays as it is."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from connector.conversion.network.texts import LARGEST
from tests.conversion.network import test_formats as formats
from tests.conversion.network.guest import MAC, ONE, SECOND_MAC, TWO, Guest, after, changed, guest, planned

PATHS: Final = (
    formats.INTERFACES,
    "/etc/network/interfaces.d/card",
    formats.NETPLAN,
    formats.CONNECTION,
    formats.IFCFG,
    formats.SUSE,
    formats.NETWORK,
    "/etc/systemd/network/10-lan.link",
    "/etc/udev/rules.d/70-persistent-net.rules",
)
WORDS: Final = st.sampled_from(
    [word for path, text, _, _ in formats.TABLE.values() for word in text.splitlines()]
    + [
        "source *",
        "source /etc/network/interfaces",
        "source-directory interfaces.d",
        "iface ens192 inet static",
    ]
    + [
        "[Match]",
        "[Link]",
        f"MACAddress={MAC}",
        f"HWADDR={SECOND_MAC}",
        "Name=ens192",
        "Name=lan0",
        "DHCP=no",
        "\\",
    ]
    + [
        f'SUBSYSTEM=="net", ATTR{{address}}=="{MAC}", NAME="eth1"',
        "Path=pci-0000:0b:00.0",
        "iface ens224 inet6 static",
    ]
    + [
        "",
        "# comment",
        "[connection]",
        "type=ethernet",
        "[ipv4]",
        "method=manual",
        "network:",
        "  ethernets:",
        "é\u2028x",
    ]
)
TEXTS: Final = st.one_of(
    st.lists(st.tuples(WORDS, st.sampled_from(["\n", "\r\n"])), max_size=30).map(
        lambda ls: "".join(a + b for a, b in ls)
    ),
    st.sampled_from([text for _, text, _, _ in formats.TABLE.values()]),
    st.binary(max_size=200).map(lambda data: data.decode("utf-8", "surrogateescape")),
)
GUESTS: Final = st.dictionaries(st.sampled_from(PATHS), TEXTS, max_size=5)


@settings(max_examples=300, deadline=None)
@given(
    files=GUESTS,
    mode=st.sampled_from(["keep", "dhcp"]),
    two=st.booleans(),
    macs=st.booleans(),
    suse=st.booleans(),
)
@example(
    files={formats.INTERFACES: "iface ens192 inet static\n\\"}, mode="dhcp", two=False, macs=False, suse=False
)
def test_planning_again_gives_nothing(
    files: dict[str, str], mode: str, two: bool, macs: bool, suse: bool
) -> None:
    source = guest({**files, **(formats.OF_SUSE if suse else {})})
    cards = TWO if two else ONE
    first = after(source, planned(source, mode, cards=cards, keeps_macs=macs).plan)
    assert changed(planned(first, mode, cards=cards, keeps_macs=macs)) == {}


@settings(max_examples=60, deadline=None)
@given(
    case=st.sampled_from(sorted(formats.TABLE)),
    comments=st.lists(
        st.from_regex(r"# [a-zA-Z0-9 =\[\]:'\"é\t]{0,30}", fullmatch=True), min_size=1, max_size=5
    ),
    data=st.data(),
)
def test_comments_stay(case: str, comments: list[str], data: st.DataObject) -> None:
    """Wherever lines of comment are put, they are there afterwards, and the rest is as without them."""
    path, text, _, dhcp = formats.TABLE[case]
    lines = text.splitlines(keepends=True)
    for number, comment in enumerate(comments):
        place = data.draw(st.integers(0, len(lines)))
        lines.insert(place, f"{comment}@{number}\n")
    source = guest({path: "".join(lines), **(formats.OF_SUSE if case == "sles" else {})})
    cards = TWO if case == "ubuntu" else ONE
    result = (
        after(source, planned(source, "dhcp", cards=cards).plan)
        .files[path]
        .decode()
        .splitlines(keepends=True)
    )
    ours = {f"{comment}@{number}\n" for number, comment in enumerate(comments)}
    assert {line for line in result if line in ours} == ours
    assert [line for line in result if line not in ours] == dhcp.splitlines(keepends=True)


HOSTILE: Final = {
    "too large": b"#" * (LARGEST + 2),
    "binary": b"iface ens192 inet static\n\0\1\2",
    "one long line": b"a" * LARGEST,
    "many empty lines": b"\n" * (LARGEST - 1),
    "backslashes": b"\\\n" * (LARGEST // 2 - 1),
    "many sections": b"[Match]\nName=ens192\n" * (LARGEST // 24),
    "many stanzas": b"iface ens192 inet static\naddress 1\n" * (LARGEST // 40),
    "many names": b"".join(b"iface en%d inet static\n" % n for n in range(2000)),
    "deep yaml": b"[" * LARGEST,
    "deeper yaml": b"".join(b" " * n + b"a:\n" for n in range(300)),
    "many aliases": b"a: &a [x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n",
    "several documents": b"network: {}\n---\nnetwork: {}\n",
    "a list": b"- network\n",
    "odd keys": b"network: {ethernets: {? [a, b] : {dhcp4: false}, 1: {addresses: [x]}, ens192: [1]}}\n",
    "an unknown tag": b"network: !!python/object/apply:os.system ['true']\n",
    "an open quote": b'NAME="ens192\nDEVICE=ens192\nIPADDR="192.0.2.1\n',
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_no_exception_and_come_to_an_end(case: str) -> None:
    for path in PATHS:
        source = Guest({path: HOSTILE[case], **guest({}).files, **guest(formats.OF_SUSE).files})
        for mode in ("keep", "dhcp"):
            planned(source, mode, cards=TWO)


@pytest.mark.parametrize(
    ("case", "path", "why"),
    [
        ("too large", formats.INTERFACES, "too large"),
        ("binary", formats.INTERFACES, "no text"),
        ("deep yaml", formats.NETPLAN, "nested too deeply"),
        ("deeper yaml", formats.NETPLAN, "nested too deeply"),
        ("many aliases", formats.NETPLAN, "aliases"),
        ("several documents", formats.NETPLAN, "no YAML"),
    ],
)
def test_a_file_that_is_not_understood_is_noted(case: str, path: str, why: str) -> None:
    result = planned(Guest({path: HOSTILE[case]}), "dhcp")
    assert changed(result) == {}
    assert any(path in note and why in note for note in result.plan.notes)


def test_a_damaged_file_is_noted() -> None:
    source = guest({formats.CONNECTION: formats.STATIC_KEYFILE})
    source.unreadable.add(formats.INTERFACES)
    result = planned(source)
    assert any(
        note == "/etc/network/interfaces was not looked at: its inode is damaged"
        for note in result.plan.notes
    )
    assert formats.RULES in changed(result)


def test_includes_end_and_stay_in_their_folder() -> None:
    files = {
        formats.INTERFACES: "source /etc/network/interfaces\nsource interfaces.d/*\nsource ../../etc/*\nsource /srv/*\n",
        **{f"/etc/network/interfaces.d/{n}": "source /etc/network/interfaces.d/*\n" for n in range(100)},
        "/srv/x": "iface ens192 inet static\n",
    }
    result = planned(files, "dhcp")
    assert changed(result) == {}
    assert any("/srv/*, which was not looked at" in note for note in result.plan.notes)


def test_names_that_are_none_are_not_used() -> None:
    """A name becomes part of a path and of a rule of udev."""
    for name in ("../../../x", 'a"b', "a b", "a\\nb", "x" * 16, "%k"):
        text = f"[connection]\ntype=ethernet\ninterface-name={name}\n\n[ethernet]\nmac-address={MAC}\n"
        result = changed(planned({formats.CONNECTION: text}, cards=TWO))
        assert all(path in (formats.CONNECTION, formats.RULES) for path in result)
        assert all(name not in (new or "") for path, new in result.items() if path != formats.CONNECTION)


def test_notes_are_short_lines() -> None:
    text = "source /srv/\x1b[2J" + "x" * 9000 + "\n"
    notes = planned({formats.INTERFACES: text * 500}).plan.notes
    assert len(notes) <= 50
    assert all(note.isprintable() and len(note) <= 300 for note in notes)


@pytest.mark.parametrize("path", [*PATHS, formats.RULES])
@pytest.mark.parametrize("case", ["binary", "too large"])
def test_a_file_that_is_not_understood_is_never_replaced(case: str, path: str) -> None:
    """Not even by rules of ours, and not by an empty file."""
    source = guest({formats.INTERFACES: formats.DEBIAN, **formats.OF_SUSE, path: HOSTILE[case]})
    assert path not in changed(planned(source, "dhcp"))
    source.unreadable.add(path)
    result = planned(source, "dhcp")
    assert path not in changed(result)
    assert path not in changed(planned(source, "keep"))
