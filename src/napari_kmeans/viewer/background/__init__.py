"""Background work of the viewer: the task of a run, its thread and its progress."""
