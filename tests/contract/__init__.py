"""The contracts of the roles, run over every driver and every mounting."""
