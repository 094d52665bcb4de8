"""The control plane: what is wanted, what is known, and who does it next.

Appliances and people meet it over HTTPS only.
"""
