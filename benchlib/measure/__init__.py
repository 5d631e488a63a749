"""The matrix: cases, running them, and rows on disk."""
