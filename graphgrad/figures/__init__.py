"""Computes figures of values and deltas: of one batch, of recorded steps, of attention."""
