"""What is printed of a plan, a study or a trial."""
