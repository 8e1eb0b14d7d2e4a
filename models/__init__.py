"""Built-in models, each declared from layers in one file."""
