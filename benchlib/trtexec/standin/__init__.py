"""Programs of ours with trtexec's command line and files."""
