"""The classic API: `https://HOST:1500/vmmgr?func=…`, as clients of VMmanager 5 call it."""
