"""The HTTP door: translate in, translate out, decide nothing."""
