"""What will and will not work on a cluster, and the next step for each."""
