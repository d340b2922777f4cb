"""Floor 1a: checks -> findings -> verdicts, out of one SQL generator for every engine."""
