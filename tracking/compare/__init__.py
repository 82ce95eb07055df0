"""From the outcomes of trials to verdicts."""
