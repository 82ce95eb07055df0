"""The jobs of a study: whether they live, how they ended, and what is done to them."""
