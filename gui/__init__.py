"""The operator's window (PyQt5, pyqtgraph)."""
