"""Statistics: arrays in, numbers out. Knows nothing of trials; imports numpy and scipy alone."""
