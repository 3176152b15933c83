"""The command line: click stops here. One module a noun; what is asked for goes to stdout, the rest to stderr."""
