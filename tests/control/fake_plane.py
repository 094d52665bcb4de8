"""The control plane with the real everything but the program of the instance: that is `fake_instance`."""

import json
import logging
import os
import sys
import urllib.request
from pathlib import Path

from connector import child
from connector.cloud.image_order import Made
from connector.cloud.local import LocalProvider
from connector.control.http.connections import ConnectionLimits
from connector.control.notifications.settings import NotificationsSection
from connector.control.plane import Options, run
from connector.errors import ConnectorError, TransferFailed


def order_image(address, request):
    body = json.dumps({"name": request.name, "format": request.format}).encode()
    try:
        with urllib.request.urlopen(f"http://{address.host}:{address.control_port}/images", body) as answer:
            files = json.load(answer)["files"]
    except OSError as error:
        raise TransferFailed(str(error), on=address.host) from error
    disks = [{"disk": "2000", "file": file.rpartition("/")[2], "capacity": 1 << 20} for file in files]
    return Made(tuple(files), {"format": request.format, "disks": disks})


def ask(instance, credential):
    assert credential.key
    address = instance.address
    try:
        with urllib.request.urlopen(f"http://{address.host}:{address.control_port}/disks") as answer:
            return json.load(answer)
    except OSError as error:
        raise TransferFailed(str(error), on=address.host) from error


def tell(instance, credential, revoked):
    """Where a test can read it."""
    Path(instance.handle, "revoked").write_text(json.dumps(list(revoked)))


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stderr, level=logging.INFO)
    state, grace, database = sys.argv[1:4]
    bounds = ConnectionLimits(**json.loads(sys.argv[4]))
    root = Path(state)
    options = Options(
        root / "state",
        database=database,
        exit_with_stdin=True,
        meets_instances=False,
        grace=float(grace),
        interval=0.2,
        bounds=bounds,
        metrics="".join(sys.argv[5:6]),
        recipients=NotificationsSection.model_validate_json("".join(sys.argv[6:]) or "{}").recipients,
        notify_every=0.2,
    )
    try:
        run(
            options,
            lambda _: LocalProvider(
                root / "store", "tests.control.fake_instance", order_image, "tests.control.fake_conversion"
            ),
            ask=ask,
            tell=tell,
        )
    except ConnectorError as failed:
        child.report_failure(failed)
        os._exit(1)
    os._exit(0)
