"""Statistics of VMs: taken in, added up to hours and days, read, and judged."""
