"""Images that boot."""
