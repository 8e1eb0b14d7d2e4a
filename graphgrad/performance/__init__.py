"""What programs cost, and the machine that they run on."""
