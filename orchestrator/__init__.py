"""What the user drives: sweep, plan, status, backends and the command line."""
