"""`python -m cli`, which is what the `pingpulse` command runs."""

from cli.main import main

if __name__ == "__main__":
    main()
