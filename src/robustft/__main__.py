"""`python -m robustft`."""

from robustft.cli import main

if __name__ == "__main__":
    main()
