"""Ways to run a command on a target: local, ssh, tmux (here or on a remote host), fake."""
