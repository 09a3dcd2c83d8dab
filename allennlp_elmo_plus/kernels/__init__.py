"""Functions on tensors, each with its definition and its fast forms; see `backend.py`."""
