"""The contract with what measures: trtexec's command line, its files, and where it is."""
