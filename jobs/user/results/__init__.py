"""Results of scripts that log by themselves: what they print, and the files that they write."""
