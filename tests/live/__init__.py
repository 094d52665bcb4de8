"""Facts about a real vCenter and its hosts that we know from documents only: `python -m tests.live` proves or refutes each."""
