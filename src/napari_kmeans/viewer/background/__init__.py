"""Work in the background: what a run does, its thread, its progress."""
