"""The control plane keeps sources and jobs and moves the jobs. Appliances and people reach it over HTTPS only."""
