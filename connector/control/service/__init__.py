"""Everything that people ask for goes through here, from the public API and the console: jobs, applications, forecasts."""
