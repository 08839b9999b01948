"""``python -m mammolens``: the same as the command ``mammolens``."""

from mammolens.cli.main import app_entry

if __name__ == "__main__":
    app_entry()
