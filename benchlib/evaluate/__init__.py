"""The top-1 accuracy of what was timed."""
