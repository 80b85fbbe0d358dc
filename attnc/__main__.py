"""`python -m attnc` is the same as the `attnc` command."""

from attnc.compiler.cli.main import main

if __name__ == "__main__":
    main()
