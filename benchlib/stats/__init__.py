"""From samples to a number with an interval, and to a verdict on it."""
