"""Every operation on a storage, one line each; a new one is added here."""

from panel.storage.operations.accept import AcceptStorage

ALL = (AcceptStorage,)
