"""Unattended: the queue and the plan of a night carried out, told about, and reported."""
