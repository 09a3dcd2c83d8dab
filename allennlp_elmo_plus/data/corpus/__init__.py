"""Words -> type ids on disk, memory-mapped and reused by later runs."""
