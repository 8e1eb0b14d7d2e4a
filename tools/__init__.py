"""The commands of the `graphgrad` program, one file each, thin over the package."""
