"""The operator's window: bench panel, live view, measurements, history. Qt ends in this room."""
