"""The dock widget: fields, live runs, layers of results, and stored settings."""
