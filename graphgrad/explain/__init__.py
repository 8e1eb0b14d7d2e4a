"""Explains single deltas: derivations as text, with every line compared with numbers."""
