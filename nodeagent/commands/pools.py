"""Pools: have one, read its space, list it, remove it."""

from __future__ import annotations

from nodeagent import storage as storages
from nodeagent.commands import handles
from nodeagent.job import Job
from nodeagent.protocol import Nothing, storage


@handles(storage.PoolEnsure)
def pool_ensure(request: storage.PoolEnsure, job: Job) -> storage.PoolState:
    """Have the pool."""
    return storages.driver(request.pool).ensure(request.begin)


@handles(storage.PoolInfo)
def pool_info(request: storage.PoolInfo, job: Job) -> storage.PoolState:
    """Read a pool's space."""
    return storages.driver(request.pool).state()


@handles(storage.PoolRemove)
def pool_remove(request: storage.PoolRemove, job: Job) -> Nothing:
    """Remove the pool unless it holds a volume or seed."""
    storages.driver(request.pool).remove()
    return Nothing()


@handles(storage.PoolList)
def pool_list(request: storage.PoolList, job: Job) -> storage.PoolFiles:
    """List the pool's volumes and the files beside them."""
    pool = storages.driver(request.pool)
    volumes = pool.volumes()
    return storage.PoolFiles(
        files={**(pool.files.names() if pool.files else {}), "volumes": sorted(volumes)},
        sizes={name: size for name, size in volumes.items() if size is not None},
    )
