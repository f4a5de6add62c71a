"""The Django project of vmpanel. docs/architecture.md tells what each app is for and who may know whom."""

__version__ = "0.1.0"
