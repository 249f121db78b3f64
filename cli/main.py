"""The `itool` command line."""


def main() -> None:
    """Placeholder."""
