#!/usr/bin/env python3
"""vmpanel-manage of this checkout (panel/manage.py)."""

from panel.manage import main

if __name__ == "__main__":
    main()
