"""The figures of the measurements, one measurement a file."""
