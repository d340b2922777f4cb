"""Answer a request: who asks, which row, may it be used, predict, record. No HTTP in here."""
