"""What a trial trains: workloads, and the catalogue of what they may name."""
