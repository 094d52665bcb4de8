"""The notifier of one process, as a child that can be killed: `URL SETTINGS LEASE`."""

import json
import sys
import threading

from connector.control.notifications.sender import Notifier
from connector.control.notifications.settings import NotificationsSection
from connector.control.store import Store

if __name__ == "__main__":
    url, settings, lease = sys.argv[1:4]
    recipients = NotificationsSection.model_validate(json.loads(settings)).recipients
    Notifier(Store(url), recipients, every=0.1, lease=float(lease)).start()
    print("ready", flush=True)
    threading.Event().wait()
