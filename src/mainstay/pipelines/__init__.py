"""Floor 1b: plan and run: land, clean, gate, publish; features; quarantine and replay."""
