"""OpenSSH's files and command lines: who is meant, how to get there, and whether the key shown is the host's."""
