"""`python -m cli` is `recap`: for a crontab, which knows interpreters but no environment's programs."""

from cli.main import main

if __name__ == "__main__":
    main()
