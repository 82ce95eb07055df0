"""The cluster: resources, submission, limits, state words. Knows nothing of sweeps or MLflow."""
