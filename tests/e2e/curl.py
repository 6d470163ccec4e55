r"""Stands in for `curl` on a machine that has none: the options that the guide uses.

-s  -X METHOD  -H 'Name: value'  -d BODY  -o FILE  -w FORMAT (only %{http_code} and \n)  URL
The URL may hold a range such as [1-1001] and is then asked for so often.
"""

import argparse
import re
import sys
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

_RANGE = re.compile(r"\[(\d+)-(\d+)\]")


def urls_of(pattern: str) -> list[str]:
    """The addresses that a pattern stands for."""
    found = _RANGE.search(pattern)
    if found is None:
        return [pattern]
    numbers = range(int(found.group(1)), int(found.group(2)) + 1)
    return [pattern.replace(found.group(), str(number)) for number in numbers]


def main() -> None:
    """Send the requests over one connection and print what came."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-s", action="store_true")
    parser.add_argument("-X", dest="method", default="GET")
    parser.add_argument("-H", dest="headers", action="append", default=[])
    parser.add_argument("-d", dest="body")
    parser.add_argument("-o", dest="output")
    parser.add_argument("-w", dest="written", default="")
    parser.add_argument("url")
    options = parser.parse_args()
    connection = HTTPConnection(urlsplit(options.url).netloc, timeout=60)
    headers = dict(header.split(": ", 1) for header in options.headers)
    for url in urls_of(options.url):
        address = urlsplit(url)
        target = f"{address.path}?{address.query}" if address.query else address.path
        connection.request(options.method, target, options.body, headers)
        answer = connection.getresponse()
        body = answer.read()
        if options.output is None:
            sys.stdout.write(body.decode())
        else:
            Path(options.output).write_bytes(body)
        written = options.written.replace("%{http_code}", str(answer.status))
        sys.stdout.write(written.replace("\\n", "\n"))


if __name__ == "__main__":
    main()
