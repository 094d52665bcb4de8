"""What people ask for: jobs, applications, forecasts. The public API and the console come through here."""
