"""Ask the service with `requests`: one session, whose connections all threads share and keep open.

A 503, which means that the service cannot answer right now, is asked again after the time that it names.

Usage: python scripts/clients/with_requests.py [ADDRESS] [--picture FILE]   (default: http://127.0.0.1:8080)
"""

import argparse
import base64
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

THREADS = 8
# Seconds to connect, and to wait for an answer: a little more than the model's own deadline.
TIMEOUT = (3.05, 15)
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAQAAAAECAIAAAAmkwkpAAAAAXNSR0IArs4c6QAAAARnQU1BAACxjwv8YQUAAAAJcEhZcwAAFiUAABYlAUlSJPAAAAAe"
    "SURBVBhXYwCC////Q0kghoDDhw+jciAKgICBgQEAfYYidT6KA44AAAAASUVORK5CYII="
)


def open_session() -> requests.Session:
    """A session with a connection a thread. Predictions only read, so that a POST, too, may be sent again."""
    retry = Retry(total=5, backoff_factor=0.2, status_forcelist=[502, 503], allowed_methods=None, raise_on_status=False)
    session = requests.Session()
    session.trust_env = False  # no proxy of the environment (http_proxy), which would look for 127.0.0.1 on itself
    session.mount("http://", HTTPAdapter(pool_maxsize=THREADS, max_retries=retry))
    return session


def checked(response: requests.Response) -> Any:
    """The answer's JSON; an error says what was wrong, and has an id that the service's log knows."""
    if not response.ok:
        problem = response.json()
        raise SystemExit(f"{problem['status']} {problem['title']}: {problem['detail']} ({problem['request_id']})")
    return response.json()


def classify_text(session: requests.Session, address: str, text: str) -> str:
    """The label of a text."""
    label: str = checked(session.post(f"{address}/lstm/predict", json={"line": text}, timeout=TIMEOUT))["labels"]
    return label


def find_salient(session: requests.Session, address: str, picture: bytes) -> bytes:
    """The mask of a picture, as a PNG."""
    files = {"img": ("picture", picture)}
    answer = checked(session.post(f"{address}/cv_sod/predict", files=files, timeout=TIMEOUT))
    return base64.b64decode(answer["img_out"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", nargs="?", default="http://127.0.0.1:8080")
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    texts = ["我很喜欢中国银行的产品", "非常讨厌"] * 20
    picture = options.picture.read_bytes() if options.picture else PNG
    try:
        with open_session() as session, ThreadPoolExecutor(THREADS) as pool:
            labels = list(pool.map(lambda text: classify_text(session, options.address, text), texts))
            mask = find_salient(session, options.address, picture)
    except requests.RequestException as exc:
        raise SystemExit(f"no answer: {exc}") from exc
    print(f"{texts[0]} {labels[0]}\n{texts[1]} {labels[1]}\n{len(labels)} texts by {THREADS} threads")
    print(f"a mask of {len(mask)} bytes")


if __name__ == "__main__":
    main()
