"""Qt widgets that do not depend on the dock."""
