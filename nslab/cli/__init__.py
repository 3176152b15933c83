"""The command line: click stops here. One module a noun; what is asked for goes to stdout, the rest to stderr.

A command's module is imported when the command runs (`group.LazyGroup`), and a heavy library only by the line that
needs it: `nslab version` must not pay for YAML, netlink or terminals.
"""
