"""The networks this package writes out itself, one file per paper."""
