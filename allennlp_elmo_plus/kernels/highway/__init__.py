"""The element-wise part of a highway layer: the gate, and what it lets through."""
