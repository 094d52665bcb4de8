"""Everything that people and appliances ask for goes through here: jobs, applications, forecasts. And the monitor of cohorts."""
