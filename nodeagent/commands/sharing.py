"""Whether two nodes see the same files in a pool: one puts a sign there, the other looks for it."""

from __future__ import annotations

from nodeagent import paths, sharing
from nodeagent.commands import handles
from nodeagent.errors import InvalidParams
from nodeagent.job import Job
from nodeagent.protocol import Nothing, storage


@handles(storage.PoolSign)
def pool_sign(request: storage.PoolSign, job: Job) -> Nothing:
    """Have the sign there, or no longer."""
    root = paths.pool_root(request.path)
    if not request.present:
        sharing.take_sign(root, request.sign)
    elif root.is_dir():
        sharing.put_sign(root, request.sign)
    else:
        raise InvalidParams("There is no pool at this path.", field="path")
    return Nothing()


@handles(storage.PoolSignStatus)
def pool_sign_status(request: storage.PoolSignStatus, job: Job) -> storage.Sight:
    """Look for the sign."""
    return storage.Sight(seen=sharing.sign_file(paths.pool_root(request.path), request.sign).exists())
