"""The service on the intermediate instance: it writes disks, keeps the journal, proves, and makes images."""
