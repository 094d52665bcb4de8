"""Tells people and programs what has happened: recipients, webhook, mail, and the threads that deliver."""
