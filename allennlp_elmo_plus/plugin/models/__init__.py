"""The model "bilm", with its state and its metrics."""
