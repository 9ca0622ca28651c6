"""One simulated device a file, named after its driver: bytes (or SDK calls) in, bytes out."""
