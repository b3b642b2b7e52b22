"""Multi-label chips."""
