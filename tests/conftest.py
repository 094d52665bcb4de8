"""What every test needs to be able to rely on, wherever the suite was started."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A shell starts background jobs with the interrupt ignored, and children inherit that through exec: tests that
# interrupt a program would wait in vain.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine makes no example wrong.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where simulated clouds keep their one certificate: SDKs keep the trust of their first connection to a port."""
    return tmp_path_factory.mktemp("certificates")
