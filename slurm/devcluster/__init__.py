"""A real SLURM on this machine, to try sweeps on."""
