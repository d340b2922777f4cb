"""How uvicorn serves our HTTP, API and pages alike: silent, trusting no header of a proxy, and nothing but HTTP."""

from __future__ import annotations

from typing import Any

OPTIONS: dict[str, Any] = {
    "loop": "uvloop",
    "ws": "none",
    "lifespan": "off",
    "log_config": None,
    "access_log": False,
    "server_header": False,
    "proxy_headers": False,
}
