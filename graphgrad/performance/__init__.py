"""Measures what programs cost, and examines the machine that they run on."""
