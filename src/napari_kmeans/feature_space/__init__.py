"""Feature spaces: convert pixels to the points that are compared."""
