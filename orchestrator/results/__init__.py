"""From recorded results to conclusions: preregistration, winners, comparison."""
