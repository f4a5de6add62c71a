"""Whether a page is the panel's own: one of the host that was asked for, or of PublicUrl, which a proxy stands for."""

from __future__ import annotations

from django.conf import settings


def origins(host: str) -> list[str]:
    """The origins of the panel's pages, for a request to this host."""
    public = settings.CONFIG.public_url
    return list(dict.fromkeys(each for each in (f"https://{host}", public) if each))


def is_own(origin: str, host: str) -> bool:
    """Whether a page of this origin may act upon the panel: cookies alone go along from any page."""
    return origin in origins(host)


def why_foreign(origin: str, host: str) -> str:
    """What was expected, and what an administrator does where the panel stands behind a proxy."""
    known = " or ".join(origins(host))
    return (
        f"This comes from a page of {origin or 'an unknown address'}, and the panel expects {known}. If browsers "
        "open the panel at another address, through a proxy, its administrator names that in PublicUrl (vmpanel.conf)."
    )
