"""Faults that a node can have: each is put in, named by the commands for a person, and mended again."""
