"""The agent on a node: serves one conversation on stdin and stdout and does the work with libvirt.

Imports neither Django nor the panel; runs on Python 3.9 with the node's own libvirt bindings.
docs/nodeagent.md describes the conversation and how an administrator replaces a command.
"""

__version__ = "0.1.0"
