"""Records in, numbers with uncertainties out: arrays only, no instrument and no file."""
