from tests.integration.conftest import run, start

__all__ = ["run", "start"]
