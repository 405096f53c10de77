"""Text that must neither run nor load anything, and the check that it did not."""

from __future__ import annotations

import re

from playwright.sync_api import Locator

from tests.support.browser import Visit

HOSTILE = """# Quillon <script>window.__pwned = 1</script>

The quillon moss of Vardal glows <img src="x" onerror="window.__pwned = 2"> in the dark.
[Read on](javascript:window.__pwned=3) ![glow](http://evil.example/glow.png)
<iframe src="http://evil.example/"></iframe> <svg onload="window.__pwned = 4"></svg>
"""
HOSTILE_ANSWER = """Hello
<script>window.__pwned = 1</script> <img src=x onerror="window.__pwned = 2">

[a](javascript:window.__pwned=3) [b](JaVaScRiPt:alert(1)) [c](data:text/html,<script>1</script>)
![remote](http://evil.example/a.png) [d](vbscript:x) <javascript:alert(1)> [e](//evil.example/)
<a href="javascript:window.__pwned=4">f</a> <style>* { display: none }</style>

> - <iframe src="http://evil.example/"></iframe>

| <img src="http://evil.example/b.png"> | ![c](http://evil.example/c.png) |
|---|---|
| [x](javascript:alert(1)) | <svg onload="window.__pwned = 5"> |

[harmless](https://example.com/page) and a source [1].

```html"><script>window.__pwned = 6</script>
<script src="http://evil.example/d.js"></script>
"""


def assert_harmless(visit: Visit, part: Locator) -> None:
    assert visit.evaluate("window.__pwned") is None
    assert part.locator("script, img, iframe, style, object, embed, form, link").count() == 0
    # All that is drawn there are the page's own symbols.
    assert part.locator("svg:not(.icon)").count() == 0
    hrefs = part.locator("a").evaluate_all("links => links.map(link => link.href)")
    assert [href for href in hrefs if not re.match("(https?|mailto):", href)] == []
    listening = "nodes => nodes.filter(n => [...n.attributes].some(a => /^on/.test(a.name))).length"
    assert part.locator("*").evaluate_all(listening) == 0
