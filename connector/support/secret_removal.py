"""Removes secrets from text that leaves the installation. The rule: what may be a secret goes; a lost word is the smaller harm.

Three ways, all of them applied: known secrets, in every spelling that a log or a file may give them; values of fields whose names
say that they are secret; and forms that only secrets have. Pure, apart from what `known` is told.
"""

from __future__ import annotations

import base64
import html
import itertools
import json
import re
from array import array
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote, quote_plus

REMOVED: Final = "[removed]"
#: So many characters of a known secret in a row are removed wherever they are: a line may have been wrapped or cut.
PIECE: Final = 12
#: A shorter secret is an ordinary word; it is removed only where a field's name tells it.
SHORTEST: Final = 4
#: What may stand inside a secret that was wrapped: blanks, ends of lines, and how JSON and quoted-printable write them.
_GAP: Final = re.compile(r"(?:\s|\\[nrt]|=\r?\n|%0[aAdD])+")

_FIELD: Final = (
    r"[\w.-]{0,24}(?:pass(?:word|wd|phrase|code)|pwd|secret|token|api[_-]?key|access[_-]?key(?![_-]?id)|private[_-]?key"
    r"|credential|signature|activation[_-]?code|auth[_-]?key|vault[_-]?key|sealed|cookie|session[_-]?id|authorization)s?"
)
#: Fields that are about a secret and hold none.
_HARMLESS: Final = re.compile(
    r"(?:_|-)?(?:file|path|dir|directory|id|name|count|accesstokenid)$", re.IGNORECASE
)
_SECRET_NAME: Final = re.compile(rf"(?:{_FIELD})\w*", re.IGNORECASE)
_BODY: Final = r"(?:[A-Za-z0-9+/=\s]|\\[nr]|%[0-9A-Fa-f]{2})"
_QUOTE: Final = r"(?:\\*[\"']|%22|%27|&quot;|&#34;|&#39;)"

_FORMS: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    (
        re.compile(
            r"-----BEGIN(?:\s|%20|\+|_)[A-Z0-9 %+_]{0,60}KEY-{0,5}"
            rf"(?:.{{0,20000}}?-----END(?:\s|%20|\+|_)[A-Z0-9 %+_]{{0,60}}KEY-{{0,5}}|{_BODY}{{0,20000}})",
            re.DOTALL,
        ),
        REMOVED,
    ),
    (re.compile(r"LS0tLS1CRUdJTi[A-Za-z0-9+/=_\s-]{0,40000}"), REMOVED),  # the same in base64
    (re.compile(r"\bgAAAAA[A-Za-z0-9_=-]{20,}"), REMOVED),  # what the vault has sealed
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?"), REMOVED),
    (
        re.compile(r"(?P<keep>:(?:\\?/){2}|%3[Aa]%2[Ff]%2[Ff])[^\s\"'<>]{0,600}(?:@|%40)"),
        rf"\g<keep>{REMOVED}@",
    ),
    (
        re.compile(
            r"(?P<keep>\b(?:proxy-)?authorization\b[\"'\\]*\s*[:=]\s*|\b(?:set-)?cookie\b[\"'\\]*\s*[:=]\s*)[^\r\n]+",
            re.IGNORECASE,
        ),
        rf"\g<keep>{REMOVED}",
    ),
    (
        re.compile(
            rf"(?P<keep>(?<![\w]){_FIELD}(?P<rest>[\w-]{{0,40}}){_QUOTE}?\s{{0,20}}(?:=>|[:=]|%3[AaDd])\s{{0,20}})(?:"
            rf"(?P<open>{_QUOTE})(?P<quoted>.{{0,4000}}?)(?P=open)|(?P<torn>{_QUOTE}[^\r\n]{{1,4000}})"
            rf"|(?P<plain>[^\s,;&\"'}}\]<>]+))",
            re.IGNORECASE | re.DOTALL,
        ),
        "",
    ),
    (re.compile(r"(?P<keep>\b[Bb]earer\s+|\bBasic\s+)[A-Za-z0-9+/=._~-]{6,}"), rf"\g<keep>{REMOVED}"),
    (
        re.compile(
            r"<(?P<tag>[\w:]{0,40}(?:password|secret|token)\w{0,40})(?P<rest>[^>]{0,500})>[^<]{0,4000}",
            re.IGNORECASE,
        ),
        rf"<\g<tag>\g<rest>>{REMOVED}",
    ),
    (re.compile(r"\b(?:LTAI[A-Za-z0-9]{12,}|A[KS]IA[A-Z0-9]{16}|STS\.[A-Za-z0-9]{10,})\b"), REMOVED),
    (re.compile(r"/services/T\w+/B\w+/\w+"), f"/services/{REMOVED}"),  # a webhook whose path is its secret
)
_RANDOM: Final = re.compile(
    r"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]{30,200}(?![A-Za-z0-9_-])|(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{60,80}=*(?![A-Za-z0-9+/])"
)


class SecretRemoval:
    """Removes secrets, and counts the places. Not for several threads."""

    def __init__(self) -> None:
        self.removed = 0
        self._pieces: set[str] = set()
        self._short: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def know(self, secret: str) -> None:
        """A secret of this installation. What is no secret by its length is ignored."""
        secret = secret.strip("\r\n\0")
        if len(secret.strip()) < SHORTEST:
            return
        for spelling in set(_spellings(secret)):
            packed = _GAP.sub("", spelling)
            if len(packed) >= PIECE:
                self._pieces.update(packed[at : at + PIECE] for at in range(len(packed) - PIECE + 1))
            elif len(packed) >= SHORTEST:
                self._short.add(packed)
                self._pattern = None

    def text(self, text: str) -> str:
        """The text without secrets."""
        text = self._without_known(text)
        for pattern, kept in _FORMS:
            text = pattern.sub(self._field if not kept else lambda m, k=kept: self._count(m.expand(k)), text)
        return _RANDOM.sub(lambda match: self._count(REMOVED) if _is_random(match[0]) else match[0], text)

    def value(self, value: Any, name: str = "") -> Any:
        """A value of JSON or YAML; `name`: its field. Values of secret fields go whatever they are."""
        if is_secret_field(name) and value not in (None, "", [], {}) and not isinstance(value, bool):
            return self._count(REMOVED)
        if isinstance(value, dict):
            return {self.text(str(key)): self.value(below, str(key)) for key, below in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(below, name) for below in value]
        return self.text(value) if isinstance(value, str) else value

    def _count(self, text: str) -> str:
        self.removed += 1
        return text

    def _field(self, match: re.Match[str]) -> str:
        name, value = match["keep"], match["quoted"] or match["torn"] or match["plain"] or ""
        if not value or value.startswith(REMOVED) or _HARMLESS.search(match["rest"]):
            return match[0]
        quoted = match["open"] or ""
        return self._count(f"{name}{quoted}{REMOVED}{quoted}")

    def _without_known(self, text: str) -> str:
        if not (self._pieces or self._short):
            return text
        packed, places = _packed(text)
        spans = sorted((*self._long_spans(packed), *self._short_spans(packed)))
        if not spans:
            return text
        kept, end = [], 0
        for begin, stop in _merged(spans):
            kept += [text[end : places[begin]], REMOVED]
            end = places[stop - 1] + 1
            self.removed += 1
        return "".join([*kept, text[end:]])

    def _long_spans(self, packed: str) -> Iterator[tuple[int, int]]:
        pieces = self._pieces
        if pieces:
            yield from (
                (at, at + PIECE) for at in range(len(packed) - PIECE + 1) if packed[at : at + PIECE] in pieces
            )

    def _short_spans(self, packed: str) -> Iterator[tuple[int, int]]:
        if self._short and self._pattern is None:
            self._pattern = re.compile("|".join(map(re.escape, sorted(self._short, key=len, reverse=True))))
        if self._pattern is not None:
            yield from (match.span() for match in self._pattern.finditer(packed))


def is_secret_field(name: str) -> bool:
    """Whether a field of this name holds a secret."""
    return _SECRET_NAME.fullmatch(name) is not None and _HARMLESS.search(name) is None


def _spellings(secret: str) -> Iterator[str]:
    """The secret as files, logs, URLs and JSON may spell it."""
    once = json.dumps(secret)[1:-1]
    plain = (secret, once, json.dumps(secret, ensure_ascii=False)[1:-1], json.dumps(once)[1:-1])
    yield from (*plain, repr(secret)[1:-1], html.escape(secret), secret.encode("unicode_escape").decode())
    for quoted in (quote(secret, safe=""), quote(secret), quote_plus(secret)):
        yield from (quoted, re.sub("%..", lambda match: match[0].lower(), quoted), quote(quoted, safe=""))
    octets = secret.encode()
    yield from (octets.hex(), octets.hex().upper())
    for encoded in _in_base64(octets):
        yield from (encoded, quote(encoded, safe=""))


def _in_base64(octets: bytes) -> Iterator[str]:
    """What base64 makes of it, wherever it stands in what is encoded; without characters that its neighbours decide."""
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + octets).decode().rstrip("=")
        cut = encoded[(0, 2, 3)[before] : len(encoded) - bool((before + len(octets)) % 3)]
        if len(cut) >= 6:
            yield from (cut, cut.replace("+", "-").replace("/", "_"))


def _packed(text: str) -> tuple[str, array[int]]:
    """The text without gaps, and the place of each of its characters."""
    kept, places, end = [], array("L"), 0
    for gap in _GAP.finditer(text):
        kept.append(text[end : gap.start()])
        places.extend(range(end, gap.start()))
        end = gap.end()
    kept.append(text[end:])
    places.extend(range(end, len(text)))
    return "".join(kept), places


def _merged(spans: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Sorted spans, with those in one that touch."""
    begin, end = spans[0]
    for start, stop in spans:
        if start > end:
            yield begin, end
            begin = start
        end = max(end, stop)
    yield begin, end


def _is_random(word: str) -> bool:
    """Whether a long word changes between letters, capitals and digits as random ones do, and is no hexadecimal number."""
    letters = re.sub("[_+/=-]", "", word)
    if not all(re.search(kind, letters) for kind in ("[a-z]", "[A-Z]", "[0-9]")):
        return False
    kinds = [0 if letter.isdigit() else 1 if letter.islower() else 2 for letter in letters]
    return sum(a != b for a, b in itertools.pairwise(kinds)) >= 0.38 * len(kinds)
