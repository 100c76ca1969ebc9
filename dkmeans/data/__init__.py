"""Opening data as row blocks, and writing labels."""
