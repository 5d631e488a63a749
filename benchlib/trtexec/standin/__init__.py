"""Programs of ours that speak trtexec's contract."""
