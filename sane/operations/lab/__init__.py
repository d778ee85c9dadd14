"""Throwaway hosts for demonstrations, rehearsals and tests: real SSH servers on loopback ports, and real faults.

`start`, `set_fault`, `look` and `end` are what surfaces call; a lab is named by its directory alone.
"""

from __future__ import annotations

from sane.operations.lab.faults import FAULTS
from sane.operations.lab.lifecycle import HostView, end, look, set_fault, start
from sane.operations.lab.state import Lab, LabHost

__all__ = ["FAULTS", "HostView", "Lab", "LabHost", "end", "look", "set_fault", "start"]
