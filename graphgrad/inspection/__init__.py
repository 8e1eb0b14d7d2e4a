"""Looking into graphs, runs and the machine they run on."""
