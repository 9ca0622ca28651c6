"""Every measurement of the paper on the simulated bench, one report beside the published values.

`paper` holds what was published, `chapters` what is run for it, `work` and `crew` carry it out in
processes, `verdict` compares, `report`, `html` and `pdf` write it down.
"""
