"""Matrix products: by libraries (`linear.py`), and inside compiled kernels (`_packing.py`, `_microkernel.py`)."""
