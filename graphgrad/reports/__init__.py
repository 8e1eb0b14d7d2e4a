"""Reads the figures that runs have recorded, filters and sorts them, and compares two runs."""
