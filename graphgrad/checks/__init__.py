"""Whether deltas and programs are right: finite differences, the reference engine, lint."""
