"""The commands of gainbench that have a file of their own; light to import."""
