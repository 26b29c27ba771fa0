"""The standard library, with the checks that Python 3.13 makes by default."""

import os
import ssl
import urllib.request

context = ssl.create_default_context()
context.verify_flags |= ssl.VERIFY_X509_STRICT
request = urllib.request.Request(
    os.environ["URL"],
    data=os.environ["BODY"].encode(),
    headers={
        "Authorization": f"Bearer {os.environ['TOKEN']}",
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
    },
)
with urllib.request.urlopen(request, context=context) as response:
    print(response.status)
