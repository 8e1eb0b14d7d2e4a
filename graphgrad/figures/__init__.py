"""Figures of values and deltas: of one batch, of every step that is recorded, of attention."""
