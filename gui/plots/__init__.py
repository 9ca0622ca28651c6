"""Live plots: what all share, and one file a measurement."""
