"""Measurements: ratios and CPU time in one run, on whatever machine this is."""
