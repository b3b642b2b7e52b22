"""Maps to explore, live in JupyterLab or frozen into a page."""
