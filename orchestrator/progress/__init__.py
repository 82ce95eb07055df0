"""Where a study stands, and what its failures call for."""
