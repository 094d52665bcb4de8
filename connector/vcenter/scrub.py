"""Takes names, addresses and secrets out of recorded conversations; equal words stay equal.

Every word that is not part of the API's own vocabulary becomes a pseudonym. The key of the pseudonyms is thrown away, so nobody
can turn them back. A test that replays the conversation asks with the pseudonyms of its answers.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Iterator

from connector.vcenter.vmomi import support

_EVERYDAY = """
a and of the on off for in is not no with true false TRUE FALSE en US English UTC v h n d p s c
vm host datastore network group domain resgroup snapshot task session datacenter dvportgroup dvs folder
Hard disk Network adapter SCSI SATA IDE NVME controller CD DVD drive Video card Keyboard Pointing PCI VMCI USB xHCI
floppy vmdk vmx nvram vmsn vswp log scsi ide sata nvme ctkEnabled ctkenabled
VMware ESX ESXi vCenter vSphere Server Inc KB MB GB GiB KiB bytes bit
Linux GNU Debian Ubuntu Red Hat Enterprise SUSE CentOS Windows Microsoft Oracle Other
xml version encoding utf UTF soap envelope Envelope vim vim25 urn namespace namespaces priorVersions
System Read View Anonymous Global Datacenter
"""
_COMMON = frozenset(_EVERYDAY.split())
_WHOLE = re.compile(
    r"""\s* (?: [+-]?\d+(?:\.\d+)?                                              # numbers
          | \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)? ) \s*""",  # times
    re.X,
)
_TOKENS = re.compile(
    r"""(?P<entity>&\#?\w+;)
      | (?P<uuid>\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b)
      | (?P<octets>\b[0-9a-fA-F]{2}(?:[:\ -][0-9a-fA-F]{2}){5,}\b)                # MACs, thumbprints, change ids
      | (?P<ipv6>(?<![\w:])(?:[0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F]{0,4}(?![\w:]))
      | (?P<ipv4>\b\d{1,3}(?:\.\d{1,3}){3}\b)
      | (?P<word>\w+)""",
    re.X,
)
_ELEMENT = re.compile(r"(<(?:[\w.-]+:)?([\w.-]+)(?:\s[^<>]*)?>)([^<]+)")
_NUMBERED = re.compile(r"(\D+?)\d{1,6}")
_VERSIONS = {"version", "apiVersion", "build", "apiType", "namespace"}
_CREDENTIALS = {"userName", "password"}
SCRUBBED = "scrubbed"


def vocabulary() -> frozenset[str]:
    """Every word of the API: types, properties, methods, values of enumerations. Takes some seconds."""
    return _COMMON | frozenset(word for term in _terms() for word in re.findall(r"\w+", term))


def _terms() -> Iterator[str]:
    for name in (*support.ListDataTypes(), *support.ListManagedTypes(), *support.ListEnumTypes()):
        kind = support.GetVmodlType(name)
        yield name
        yield str(kind._wsdlName)
        yield from (str(value) for value in getattr(kind, "values", ()))
        if hasattr(kind, "_GetPropertyList"):
            yield from (info.name for info in kind._GetPropertyList())
        yield from (info.wsdlName for info in getattr(kind, "_methodInfo", {}).values())


class Scrubber:
    """Pseudonyms for one recording."""

    def __init__(self, key: bytes, known: frozenset[str]) -> None:
        self._key = key
        self._known = known
        self._kinds: dict[str, Callable[[str], str]] = {
            "entity": lambda text: text,
            "uuid": self.digits,
            "octets": self.digits,
            "ipv4": self._ipv4,
            "ipv6": lambda text: text if text.strip(":") == "" else f"fd00::{self._digest(text.lower())[:4]}",
            "word": self._word,
        }

    def document(self, text: str) -> str:
        """A SOAP envelope, request or answer."""
        return _ELEMENT.sub(lambda match: match[1] + self._content(match[2], match[3]), text)

    def _content(self, element: str, text: str) -> str:
        if element in _CREDENTIALS:
            return SCRUBBED
        return text if element in _VERSIONS else self.text(text)

    def text(self, text: str) -> str:
        """One value: a name, a path, an address, a sentence."""
        if _WHOLE.fullmatch(text):
            return text
        return _TOKENS.sub(lambda match: self._kinds[str(match.lastgroup)](match[0]), text)

    def fitted(self, text: str) -> str:
        """As `text`, for a place whose length is fixed: each pseudonym is cut, or continued, to the bytes of its word in UTF-8.

        Of the pseudonyms that `text` and this have for one word, the shorter one begins the longer one.
        """
        return text if _WHOLE.fullmatch(text) else _TOKENS.sub(self._fitted, text)

    def digits(self, text: str) -> str:
        """The same layout with other hexadecimal digits. They depend neither on the case of letters nor on separators."""
        digits = iter(self._digest(re.sub(r"\W", "", text.lower())) * (len(text) // 64 + 1))
        return "".join(next(digits) if letter.isalnum() else letter for letter in text)

    def _fitted(self, match: re.Match[str]) -> str:
        word = match[0]
        if match.lastgroup == "entity":  # this is no XML
            return re.sub(r"\w+", lambda inner: self._fit(inner[0], self._word(inner[0])), word)
        return self._fit(word, self._kinds[str(match.lastgroup)](word))

    def _fit(self, word: str, pseudonym: str) -> str:
        size = len(word.encode())
        if pseudonym == word or len(pseudonym) == size:
            return pseudonym
        fitted = (pseudonym + self._digest(word) * (size // 64 + 1))[:size]
        return fitted if fitted != word else f"x{fitted[1:]}"

    def _word(self, word: str) -> str:
        numbered = _NUMBERED.fullmatch(word)
        if word in self._known or (numbered and numbered[1] in self._known):
            return word
        if word.isdigit():  # numbers are kept as values, so they are kept in names too
            return word
        return f"n{self._digest(word)[:8]}"

    def _ipv4(self, text: str) -> str:
        if any(int(part) > 255 for part in text.split(".")) or text in ("0.0.0.0", "255.255.255.255"):  # noqa: S104
            return text
        digest = self._digest(text)
        return f"198.18.{int(digest[:2], 16)}.{int(digest[2:4], 16)}"

    def _digest(self, text: str) -> str:
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()
