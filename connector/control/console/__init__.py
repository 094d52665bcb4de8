"""The console: pages for people, served by the control plane itself. What may be done is decided at the public API's desk,
never here.
"""
