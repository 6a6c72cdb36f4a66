"""``python -m l96closure`` is the command line."""

from l96closure.cli import main

if __name__ == "__main__":
    main()
