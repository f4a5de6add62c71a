"""The database of each release before, and what becomes of its tasks under this one."""
