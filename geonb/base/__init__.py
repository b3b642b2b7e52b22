"""Knows nothing of us: where things lie, files that appear whole or not at all, texts with options, downloads, threads."""
