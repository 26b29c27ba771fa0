"""A user who signs in without a browser."""

from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp.shared.auth import AuthorizationCodeResult


class BrowserlessUser:
    """Visits the authorization endpoint, which redirects back at once."""

    def __init__(self) -> None:
        self.parameters: dict[str, list[str]] = {}

    async def redirect(self, url: str) -> None:
        async with httpx2.AsyncClient() as http:
            response = await http.get(url)
        self.parameters = parse_qs(urlsplit(response.headers["location"]).query)

    async def callback(self) -> AuthorizationCodeResult:
        return AuthorizationCodeResult(**{name: values[0] for name, values in self.parameters.items()})
