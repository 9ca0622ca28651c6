"""From run files to numbers, one measurement a file: records in, analysis out."""
