"""The public SMC API, version 2019-06-01, as the official SDKs speak it: served at `/`, described in docs/smc-api.md."""
