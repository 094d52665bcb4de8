"""The control plane's outer edge: connections, requests, and the views of rows in answers."""
