"""How runs are carried out and kept: run files, the runner, and what watches over them."""
