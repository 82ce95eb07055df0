"""MLflow: its store, its runs, its server."""
