"""A sweep, its recorded decisions, and the trials that follow from both."""
