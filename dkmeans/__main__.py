"""``python -m dkmeans``."""

from dkmeans.cli import main

if __name__ == "__main__":
    main()
