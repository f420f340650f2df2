"""`python -m factory_cli` is `factory`."""

from factory_cli.main import app

if __name__ == "__main__":
    app()
