"""Everything between a plan and jobs that are sent."""
