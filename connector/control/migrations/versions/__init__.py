"""One module per schema version, never changed after its release."""
