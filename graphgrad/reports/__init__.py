"""What runs have recorded: read, filtered, sorted, and two runs side by side."""
