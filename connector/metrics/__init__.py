"""Metrics of our services in Prometheus' text format, and the small server that answers them. Nothing here is secret."""
