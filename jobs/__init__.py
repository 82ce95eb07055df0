"""One trial, or one pack of trials, on the node that trains it. Knows nothing of sweeps, schedulers or MLflow."""
