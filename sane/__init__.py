"""Run steps on many hosts, in tmux panes people can watch or over SSH, and tell the truth about each."""

__version__ = "0.1.0"
