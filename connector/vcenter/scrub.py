"""Takes names, addresses and secrets out of recorded conversations; equal words stay equal.

Every word that is not part of the API's own vocabulary becomes a pseudonym. The key of the pseudonyms is thrown away, so nobody
can turn them back. A test that replays the conversation asks with the pseudonyms of its answers. Names are looked for wherever
XML can have them, and of a body that is no message of the API only its length is kept.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Iterator
from xml.parsers.expat import ExpatError, ParserCreate
from xml.sax.saxutils import escape

from connector.vcenter.characters import Replacer
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
xsd xsi soapenc soapenv internalvim VirtualCenter HostAgent U
int long short byte double float boolean string dateTime anyType anyURI base64Binary
ArrayOfInt ArrayOfLong ArrayOfShort ArrayOfByte ArrayOfDouble ArrayOfFloat ArrayOfBoolean ArrayOfString ArrayOfDateTime
ArrayOfAnyType ArrayOfAnyURI ArrayOfBase64Binary ManagedObjectReference ArrayOfManagedObjectReference
"""
_COMMON = frozenset(_EVERYDAY.split())
_NO_ADDRESS = ("0.0.0.0", "255.255.255.255")  # noqa: S104 # nosec B104 - they name no computer
_WHOLE = re.compile(
    r"""\s* (?: [+-]?\d+(?:\.\d+)?                                              # numbers
          | \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)? ) \s*""",  # times
    re.X,
)
_TOKENS = re.compile(
    r"""(?P<entity>&(?:lt|gt|amp|quot|apos);)
      | (?P<reference>&\#\w+;)                                                   # of HTML, in notes
      | (?P<uuid>\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b)
      | (?P<octets>\b[0-9a-fA-F]{2}(?:[:\ -][0-9a-fA-F]{2}){5,}\b)                # MACs, thumbprints, change ids
      | (?P<ipv6>(?<![\w:])(?:[0-9a-fA-F]{0,4}:){2,7}(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F]{0,4})(?![\w:]))
      | (?P<ipv4>\b\d{1,3}(?:\.\d{1,3}){3}\b)
      | (?P<word>(?:\w|[^\x00-\x7f\ufffd])+)                                      # signs of other scripts are no \w""",
    re.X,
)
_MARKUP = re.compile(
    r"""<\?xml\s.*?\?>(?P<declaration>)
      | <(?P<opened>[^\s<>/=!?]+) (?P<attributes>(?:\s+[^\s<>/=]+\s*=\s*(?:"[^"]*"|'[^']*'))*) \s* (?P<empty>/?)>
      | </[^<>]+>(?P<closed>)
      | <!\[CDATA\[(?P<data>.*?)\]\]>
      | <!--.*?-->(?P<comment>)
      | <\?.*?\?>(?P<instruction>)
      | (?P<text>[^<]+)""",
    re.X | re.S,
)
_ATTRIBUTE = re.compile(
    r"""(?P<name>[^\s<>/=]+)(?P<between>\s*=\s*)(?P<quote>["'])(?P<value>.*?)(?P=quote)""", re.S
)
_REFERENCE = re.compile(r"&#(?:x([0-9a-fA-F]+)|([0-9]+));")
_NUMBERED = re.compile(r"(\D+?)\d{1,6}")
_VERSION = re.compile(r"\s*\d+(?:\.\d+)*(?:u\d+(?:server)?)?\s*")
_VERSIONS = {"version", "apiVersion", "build", "versionId"}
_CREDENTIALS = {"userName", "password"}
_MESSAGES = {"Envelope", "namespaces"}
"""The outermost elements of what vCenter says and hears: a call or an answer, and the list of its versions."""
_NAMESPACES = re.compile(r"urn:(?:internal)?vim\d*|http://(?:schemas\.xmlsoap\.org|www\.w3\.org)/[\w./-]*")
_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>'
_QUOTES = {'"': "&quot;", "'": "&apos;"}
SCRUBBED = "scrubbed"


def vocabulary() -> frozenset[str]:
    """Every word of the API: types, properties, methods, values of enumerations. Takes some seconds."""
    return _COMMON | frozenset(word for term in _terms() for word in re.findall(r"\w+", term))


def _terms() -> Iterator[str]:
    for name in (*support.ListDataTypes(), *support.ListManagedTypes(), *support.ListEnumTypes()):
        kind = support.GetVmodlType(name)
        yield name
        yield from (str(kind._wsdlName), f"ArrayOf{kind._wsdlName}")
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
            "reference": lambda text: f"n{self._digest(text)[:8]}",
            "uuid": self.digits,
            "octets": self.digits,
            "ipv4": self._ipv4,
            "ipv6": lambda text: text if text.strip(":") == "" else f"fd00::{self._digest(text.lower())[:4]}",
            "word": self._word,
        }

    def message(self, body: bytes) -> str:
        """A call or an answer. Of a body that is none of vCenter's, such as the page of a proxy, only the length is kept."""
        text = Replacer().feed(body, last=True).decode("utf-8", "replace")
        pieces = _pieces(text)
        if not pieces:
            return f"no message of vCenter, {len(body)} bytes" if body else ""
        return "".join(self._pieces(pieces))

    def _pieces(self, pieces: list[re.Match[str]]) -> Iterator[str]:
        around: list[str] = []
        for piece in pieces:
            kind = piece.lastgroup
            if piece["opened"] and not piece["empty"]:
                around.append(_local(piece["opened"]))
            elif kind == "closed":
                around.pop()
            yield self._piece(piece, around[-1] if around else "")

    def _piece(self, piece: re.Match[str], element: str) -> str:
        if piece["opened"]:
            return _ATTRIBUTE.sub(self._attribute, piece[0])
        if piece["data"] is not None:
            return escape(self._content(element, piece["data"]))
        if piece["text"] is not None:
            return self._content(element, _resolved(piece["text"]))
        if piece["declaration"] is not None:
            return _DECLARATION
        return piece[0] if piece["closed"] is not None else ""  # nobody reads comments and instructions

    def _attribute(self, match: re.Match[str]) -> str:
        name, value = match["name"], _resolved(match["value"])
        is_namespace = name.partition(":")[0] == "xmlns" and _NAMESPACES.fullmatch(value)
        kept = value if is_namespace else self._content(_local(name), value)
        return f"{name}{match['between']}{match['quote']}{kept}{match['quote']}"

    def _content(self, name: str, text: str) -> str:
        """What an element or attribute of this name has."""
        if name in _CREDENTIALS:
            return SCRUBBED
        return text if name in _VERSIONS and _VERSION.fullmatch(text) else self.text(text)

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
        if any(int(part) > 255 for part in text.split(".")) or text in _NO_ADDRESS:
            return text
        digest = self._digest(text)
        return f"198.18.{int(digest[:2], 16)}.{int(digest[2:4], 16)}"

    def _digest(self, text: str) -> str:
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()


def _pieces(text: str) -> list[re.Match[str]]:
    """The tags and texts of a message of vCenter, without a gap; none if this is no such message."""
    pieces, end = [], 0
    for piece in _MARKUP.finditer(text):
        if piece.start() != end:
            return []
        pieces.append(piece)
        end = piece.end()
    outermost = next((_local(piece["opened"]) for piece in pieces if piece["opened"]), "")
    return pieces if end == len(text) and outermost in _MESSAGES and _is_xml(text) else []


def _is_xml(text: str) -> bool:
    """Whether it is well-formed, so that tags are where `_MARKUP` sees them."""
    try:
        ParserCreate("UTF-8").Parse(text.encode(), True)
    except ExpatError:
        return False
    return True


def _local(name: str) -> str:
    return name.rpartition(":")[2]


def _resolved(text: str) -> str:
    """References to characters by number hide a name from everything that looks for words."""
    return _REFERENCE.sub(lambda one: escape(chr(int(one[1] or one[2], 16 if one[1] else 10)), _QUOTES), text)
