"""Trial and development on one machine: what script/server and the tests start, with nothing configured.

Imports the standard library and panel.config alone; everything else of the panel is reached through
manage.py and the REST API, as anybody would.
"""
