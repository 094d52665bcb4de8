"""Generators of the pages in `docs/` that are made from tables. `UPDATE_DOCS=1 pytest` writes the pages."""
