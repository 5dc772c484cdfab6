"""The dock widget, its fields and its remembered settings."""
