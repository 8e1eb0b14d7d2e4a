"""What is written in the loop language by hand; printed kernels and Python call it."""
