"""The command line: a door. Each command calls one function and prints; `main` alone knows errors and exit codes."""
