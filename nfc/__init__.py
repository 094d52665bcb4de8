"""Reading virtual disks from an ESXi host over NFC. Standard library only; knows nothing of the rest of the house.

`nfc.spec` has the words, `nfc.disk` opens disks, `nfc.errors` says what can fail. `authd`, `classic`, `aio` and `codec` encode
and decode the protocol without a socket; `connection` has the socket and both TLS layers, `engine` the thread that reads.

Facts in these modules carry their source: [P] is from public protocol notes, [?] is a guess. Nobody has seen them on a host here.
"""
