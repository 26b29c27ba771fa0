"""requests and httpx with their defaults. On Python 3.13 both verify strictly."""

import os

import httpx
import requests

url = os.environ["URL"]
headers = {
    "Authorization": f"Bearer {os.environ['TOKEN']}",
    "Content-Type": "application/json",
    "Accept": "application/json, text/event-stream",
}
body = os.environ["BODY"]
print(
    requests.post(url, data=body, headers=headers, timeout=20).status_code,
    httpx.post(url, content=body, headers=headers, timeout=20).status_code,
)
