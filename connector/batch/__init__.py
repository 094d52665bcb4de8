"""Waves: many machines by one manifest: parse, plan (a diff), apply, cut over, report. Meets the control plane by its API."""
