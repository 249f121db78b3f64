"""The `itool` command (installed as the import package `itool_cli`); one module a command."""
