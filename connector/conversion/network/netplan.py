"""netplan: /etc/netplan/*.yaml. Only lines are changed, at the places that the YAML parser names, so that comments stay.

A file with aliases, with more than one document, in flow style where something must change, or nested deeper than netplan's
own files is not changed, and a note says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from connector.conversion.network import sections
from connector.conversion.network.cards import NameClaim, NamedCard, Naming, fits_some_card, is_physical
from connector.conversion.network.texts import GuestTexts

_FOLDER: Final = "/etc/netplan"
_DEEPEST: Final = 20
_STATIC: Final = ("addresses", "gateway4", "gateway6", "routes", "nameservers")
_VMWARE: Final = ("vmxnet", "e1000", "pcnet32", "vlance")


def claims(texts: GuestTexts) -> list[NameClaim]:
    """The names and MACs of the section `ethernets`."""
    return [
        claim
        for path, root in _files(texts)
        for key, card in _ethernets(root)
        if (claim := _claim(key, card))
    ]


def _claim(key: str, card: Node) -> NameClaim | None:
    match = _value(card, "match")
    mac, name = _scalar(match, "macaddress"), _scalar(card, "set-name") or _scalar(match, "name")
    if match is None:
        name = key
    if any(character in name for character in "*?["):
        return None
    if not name and is_physical(key):
        name = key
    return NameClaim(name, mac, gives=bool(mac and _scalar(card, "set-name"))) if name or mac else None


def match_by_name(texts: GuestTexts, naming: Naming) -> None:
    """Cards that are matched by MAC or driver are matched by name, and nobody renames them any more."""
    for path, root in _files(texts):
        for key, card in reversed(list(_ethernets(root))):
            _match(texts, path, key, card, naming)


def _match(texts: GuestTexts, path: str, key: str, card: Node, naming: Naming) -> None:
    match = _value(card, "match")
    if _scalar(card, "macaddress"):
        texts.note(f"{path} sets the MAC of {key} (macaddress); this was kept")
    mac, driver = naming.of_mac(_scalar(match, "macaddress")), _scalar(match, "driver")
    is_pinned = (mac is not None and not naming.keeps_macs) or driver.startswith(_VMWARE)
    if match is None or not is_pinned:
        return
    named = (
        mac
        or naming.named(_scalar(card, "set-name") or key)
        or (naming.cards[0] if naming.alone and naming.cards else None)
    )
    if named is None or not isinstance(card, MappingNode) or not _is_block(card):
        texts.note(
            f"{path} matches {key} by its MAC or driver, and this is not understood well enough to change it"
        )
        return
    lines = sections.split(texts.read(path) or "")
    edits = {"match": None if named.name == key else f"match: {{name: {named.name}}}", "set-name": None}
    texts.change(
        path,
        _edited(lines, card, edits, None),
        f"matches {named.name} by the MAC or driver that it has under VMware",
    )


def ask_dhcp(texts: GuestTexts, card: NamedCard, naming: Naming) -> None:
    """Files add up: the static settings go from all of them."""
    definitions = [
        (path, root, key, node)
        for path, root in _files(texts)
        for key, node in _ethernets(root)
        if _is_of(key, node, card, naming)
    ]
    keys = {key for _, _, key, _ in definitions}
    upper = next(
        (name for _, root in _files(texts) for name, members in _uppers(root) if keys & set(members)), ""
    )
    if upper:
        texts.note(f"{card.name} belongs to {upper}; the addresses of {upper} were kept")
        return
    for path, _, key, node in definitions:
        _ask(texts, path, key, node, card.name)


def ask_dhcp_unnamed(texts: GuestTexts, *, is_alone: bool) -> None:
    """Definitions that match cards by a pattern. `is_alone`: the machine has one card, so they are its own."""
    for path, root in _files(texts):
        for key, node in reversed(list(_ethernets(root))):
            match = _value(node, "match")
            is_pattern = fits_some_card(_scalar(match, "name")) and not _scalar(match, "macaddress")
            if is_pattern and is_alone:
                _ask(texts, path, key, node, "the card")
            elif is_pattern and _value(node, "addresses") is not None:
                texts.note(
                    f"{path} gives a fixed address to any card ({key}); it was kept, because the machine has several"
                )


def _ask(texts: GuestTexts, path: str, key: str, node: Node, name: str) -> None:
    old = [name for name in _STATIC if _value(node, name) is not None]
    is_asking = _scalar(node, "dhcp4").lower() in ("true", "yes", "on")
    if not old and (is_asking or _value(node, "dhcp4") is None):
        return
    if not isinstance(node, MappingNode) or not _is_block(node):
        texts.note(f"{path} has {key} in a form that is not changed here: write dhcp4: true there by hand")
        return
    edits: dict[str, str | None] = dict.fromkeys(old)
    added = None
    if not is_asking:
        edits["dhcp4"] = added = "dhcp4: true"
    lines = sections.split(texts.read(path) or "")
    texts.change(path, _edited(lines, node, edits, added), f"{name} asks DHCP on the target")


def _is_of(key: str, node: Node, card: NamedCard, naming: Naming) -> bool:
    match = _value(node, "match")
    if match is None:
        return key == card.name
    if naming.of_mac(_scalar(match, "macaddress")) == card:
        return True
    return card.name in (_scalar(node, "set-name"), _scalar(match, "name"))


def _uppers(root: MappingNode) -> Iterator[tuple[str, list[str]]]:
    """Bonds and bridges with their members."""
    network = _value(root, "network")
    for kind in ("bonds", "bridges"):
        for key, node in _items(_value(network, kind)):
            members = _value(node, "interfaces")
            if isinstance(members, SequenceNode):
                yield key, [str(member.value) for member in members.value if isinstance(member, ScalarNode)]


def _edited(lines: Sequence[str], node: MappingNode, edits: dict[str, str | None], added: str | None) -> str:
    """The lines with keys of a block mapping replaced, or removed where the new text is None.

    `added` is a line that comes first when no key of the mapping is replaced by it.
    """
    result = list(lines)
    end = sections.ending("".join(lines))
    first = node.value[0][0].start_mark
    names = {str(key.value) for key, _ in node.value}
    for key, value in reversed(node.value):
        if str(key.value) in edits:
            start, last = key.start_mark.line, max(_last_line(value), key.start_mark.line)
            text = edits[str(key.value)]
            final = result[last].endswith("\n")
            line = [] if text is None else [" " * key.start_mark.column + text + (end if final else "")]
            comments = [text for text in result[start : last + 1] if text.lstrip().startswith("#")]
            result[start : last + 1] = [*line, *comments]
    if added is not None and added.partition(":")[0] not in names:
        result[first.line : first.line] = [" " * first.column + added + end]
    return "".join(result)


def _last_line(node: Node) -> int:
    """The last line of a value. Marks of block collections end at the next token, behind the comments that follow."""
    if isinstance(node, ScalarNode) or (isinstance(node, (MappingNode, SequenceNode)) and node.flow_style):
        is_behind = node.end_mark.column == 0 and node.end_mark.line > node.start_mark.line
        return int(node.end_mark.line) - is_behind
    if isinstance(node, MappingNode):
        return max((_last_line(value) for _, value in node.value), default=int(node.start_mark.line))
    return max((_last_line(value) for value in node.value), default=int(node.start_mark.line))


def _is_block(node: MappingNode) -> bool:
    """Each key has a line of its own: the mapping can be edited by lines."""
    lines = [key.start_mark.line for key, _ in node.value]
    return bool(lines) and not node.flow_style and len(set(lines)) == len(lines)


def _files(texts: GuestTexts) -> list[tuple[str, MappingNode]]:
    """The files that are understood, in the order in which netplan reads them."""
    return [
        (path, root)
        for path in texts.paths(_FOLDER, ".yaml")
        if (text := texts.read(path)) is not None and (root := _parsed(texts, path, text)) is not None
    ]


def _parsed(texts: GuestTexts, path: str, text: str) -> MappingNode | None:
    """Bounds come first: the parser builds nodes by recursion, and takes time by the square of the depth."""
    try:
        why = _refusal(text)
        root = None if why else yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError) as error:
        why, root = f"it is no YAML ({type(error).__name__})", None
    if why:
        texts.note(f"{path} was not looked at: {why}")
    return root if isinstance(root, MappingNode) else None


def _refusal(text: str) -> str:
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            return "it uses aliases"
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            return "it is nested too deeply"
    return ""


def _ethernets(root: MappingNode) -> Iterator[tuple[str, Node]]:
    yield from _items(_value(_value(root, "network"), "ethernets"))


def _items(node: Node | None) -> Iterator[tuple[str, Node]]:
    if isinstance(node, MappingNode):
        yield from ((str(key.value), value) for key, value in node.value if isinstance(key, ScalarNode))


def _value(node: Node | None, key: str) -> Node | None:
    return next((value for name, value in _items(node) if name == key), None)


def _scalar(node: Node | None, key: str) -> str:
    value = _value(node, key)
    return str(value.value) if isinstance(value, ScalarNode) else ""
