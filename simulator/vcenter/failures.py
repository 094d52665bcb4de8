"""Every failure becomes a typed API fault: the estate's faults by name and details, anything else a
SystemError.
"""

from __future__ import annotations

import logging
from typing import Any

from simulator.estate.errors import EstateFault
from simulator.vcenter.api import MethodFault, fields_of, type_named, vmodl

_log = logging.getLogger("simulator.vcenter")


def fault_named(name: str, message: str = "", **details: Any) -> Any:
    """A fault by WSDL name (`FileFault`, `TaskInProgress`); details that the type lacks are left out.

    Raises KeyError for a name that is not a fault of the API.
    """
    kind = type_named(name)
    if not issubclass(kind, MethodFault):
        raise KeyError(name)
    fault = kind()
    known = fields_of(kind)
    for field, value in details.items():
        if field in known:
            setattr(fault, field, value)
    fault.msg = message or name
    return fault


def as_fault(error: BaseException) -> Any:
    """The fault to send for a handler's exception."""
    if isinstance(error, MethodFault):
        return error
    if isinstance(error, EstateFault):
        details = {key: value for key, value in error.details.items() if isinstance(value, str | int | bool)}
        try:
            return fault_named(error.name, str(error), **details)
        except (KeyError, TypeError):
            _log.exception("estate fault %s has no form in the API", error.name)
            return vmodl.fault.SystemError(reason=str(error), msg=str(error))
    _log.error("a handler failed", exc_info=error)
    return vmodl.fault.SystemError(
        reason=type(error).__name__, msg=f"A general system error occurred: {type(error).__name__}"
    )
