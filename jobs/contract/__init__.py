"""What login node and compute node agree on. Standard library only."""
