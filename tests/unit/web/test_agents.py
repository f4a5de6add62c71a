"""What a browser that is signed in is called."""

from __future__ import annotations

import pytest

from panel.web.agents import name_of

WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
ANDROID = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) "


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox 140 on Linux"),
        (f"{WINDOWS}Chrome/126.0.0.0 Safari/537.36", "Chrome 126 on Windows"),
        (f"{WINDOWS}Chrome/126.0.0.0 Safari/537.36 Edg/126.0.2592.87", "Edge 126 on Windows"),
        (f"{WINDOWS}Chrome/124.0.0.0 Safari/537.36 OPR/110.0.0.0", "Opera 110 on Windows"),
        (f"{WINDOWS}Chrome/124.0.0.0 YaBrowser/24.6.0.0 Safari/537.36", "Yandex Browser 24 on Windows"),
        (f"{MAC}Version/17.5 Safari/605.1.15", "Safari 17 on macOS"),
        (f"{PHONE}Version/17.5 Mobile/15E148 Safari/604.1", "Safari 17 on iPhone"),
        (f"{PHONE}FxiOS/127.0 Mobile/15E148 Safari/605.1.15", "Firefox 127 on iPhone"),
        (f"{ANDROID}Chrome/126.0.0.0 Mobile Safari/537.36", "Chrome 126 on Android"),
        ("curl/7.88.1", "curl 7.88.1"),
        ("Mozilla/5.0 (something)", "Unknown browser"),
        ("", "Unknown browser"),
    ],
)
def test_browsers_are_told_apart(agent: str, name: str) -> None:
    assert name_of(agent) == name
