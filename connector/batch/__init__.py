"""A wave migrates many machines by one manifest: parse, plan, apply, cut over, report. It uses only the public API."""
