"""Derivations of single deltas, as text whose every line is compared with numbers."""
