"""Training without a trainer: optimizer, loss, meters, signals, random states, memory."""
