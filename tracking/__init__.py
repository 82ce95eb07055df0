"""From event logs to conclusions: outcomes, MLflow, statistics, report. Never torch."""
