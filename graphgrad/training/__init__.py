"""Tasks, optimisers, the loop, and how a run lives on disk."""
