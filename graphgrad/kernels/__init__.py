"""Regions of a graph as compiled loop nests, and random numbers."""
