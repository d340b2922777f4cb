"""Learning again: training sets of what was known when."""
