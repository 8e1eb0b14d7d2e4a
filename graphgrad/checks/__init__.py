"""Checks graphs and programs: deltas by finite differences, programs by a reference, lint."""
