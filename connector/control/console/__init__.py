"""The console: pages for people, served by the control plane itself. What may be done is decided by the public API's dispatcher,
never here.
"""
