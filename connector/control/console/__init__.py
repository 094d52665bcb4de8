"""The console has pages for people. It decides nothing itself: every change goes through the public API's dispatcher."""
