"""What exists, who owns it and what was promised about it."""
