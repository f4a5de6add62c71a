"""The two daemons that bring libvirt's events into the panel; docs/vmwatch.md describes their messages.

Imports neither Django nor the panel, and runs on Python 3.9. The panel imports wire.py alone.
"""

__version__ = "0.1.0"
