"""Parallel text: vocabularies, corpora, and the batches that training and evaluation see.

The package imports nothing of graphgrad but its errors, so that it can be used, and replaced,
without the engine.
"""
