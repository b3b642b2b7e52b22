"""Runs as jobs of a site's scheduler: scripts, submission, time limits, what became of them."""
