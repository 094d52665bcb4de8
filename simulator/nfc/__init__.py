"""The ESXi hosts of an estate as NFC servers: authd, classic messages and AIO frames, as a reader without VDDK
meets them on port 902. Written from public notes of the protocol, not from any client.
"""

from simulator.nfc.host import Hosts
from simulator.nfc.switches import Switches
from simulator.nfc.tickets import Ticket

__all__ = ["Hosts", "Switches", "Ticket"]
