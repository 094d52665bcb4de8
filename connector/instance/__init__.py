"""The service on the intermediate instance: writes disks, keeps the journal, proves, makes images."""
