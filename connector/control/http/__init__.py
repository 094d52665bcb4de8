"""The control plane's outer edge: connections, requests, and what is shown in answers."""
