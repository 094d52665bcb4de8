from tests.transfer.conftest import *  # noqa: F403
