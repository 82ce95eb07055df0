"""Ray as a backend: of its own, one that runs already, or inside a SLURM job."""
