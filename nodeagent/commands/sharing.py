"""Whether two nodes see the same pool: one puts a sign there, the other looks for it."""

from __future__ import annotations

from nodeagent import storage as storages
from nodeagent.commands import handles
from nodeagent.job import Job
from nodeagent.protocol import Nothing, storage


@handles(storage.PoolSign)
def pool_sign(request: storage.PoolSign, job: Job) -> Nothing:
    """Have the sign there, or no longer."""
    pool = storages.driver(request.pool)
    if request.present:
        pool.put_sign(request.sign)
    else:
        pool.take_sign(request.sign)
    return Nothing()


@handles(storage.PoolSignStatus)
def pool_sign_status(request: storage.PoolSignStatus, job: Job) -> storage.Sight:
    """Look for the sign."""
    return storage.Sight(seen=storages.driver(request.pool).has_sign(request.sign))
