"""``python -m benchlib`` is the command ``benchlib``."""

from benchlib.cli import main

if __name__ == "__main__":
    main()
