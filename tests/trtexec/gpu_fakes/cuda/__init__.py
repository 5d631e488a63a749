"""Stands before the real package of this name on the path of a test's process."""
