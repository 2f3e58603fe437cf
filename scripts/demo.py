"""Send one real text and one real image through the running service, and show what it answers."""

import argparse
import base64
import json
import shlex
import sys
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import quote

import cv2
import numpy as np

from wsgiapp.deployment.stack import Stack
from wsgiapp.deployment.stack_settings import stack_settings
from wsgiapp.errors import WsgiappError

TEXT = "我很喜欢中国银行的产品"
SIZE = 240
# The service is on this machine, which a proxy would look for on its own.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def main() -> int:
    """The exit status: 0 when each demo model that is configured answered."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    try:
        configured, _ = stack_settings()
        address = Stack(configured).address
        if configured.tls.certificate or configured.http.proxy_protocol:
            print("\nno demonstration: it asks by plain HTTP, and clients here come by HTTPS or the PROXY protocol")
            return 0
        if "lstm" in configured.models:
            show_text(f"{address}/lstm/predict")
        if "cv_sod" in configured.models:
            show_image(f"{address}/cv_sod/predict", configured.home / "demo")
    except (WsgiappError, OSError) as exc:
        answer = exc.read().decode(errors="replace") if isinstance(exc, urllib.error.HTTPError) else ""
        print(f"demo: {exc}\n{answer}", file=sys.stderr)
        return 1
    print("\nNext: make status | make logs | make restart | make test | make down")
    return 0


def show_text(url: str) -> None:
    """One sentence, as a GET with base64."""
    line = base64.urlsafe_b64encode(TEXT.encode()).decode()
    print(f"\ntext   {TEXT}\n       curl '{url}?line={line}'")
    with DIRECT.open(f"{url}?line={quote(line)}", timeout=30) as response:
        print(f"       {response.read().decode().strip()}")


def show_image(url: str, folder: Path) -> None:
    """A picture of a cat that is drawn here, as a POST of the bare file; picture and mask are kept to be looked at."""
    folder.mkdir(parents=True, exist_ok=True)
    picture, mask = folder / "cat.jpg", folder / "mask.png"
    cv2.imwrite(str(picture), draw_cat())
    headers = {"Content-Type": "image/jpeg"}
    request = urllib.request.Request(url, picture.read_bytes(), headers)
    command = ["curl", "-H", "Content-Type: image/jpeg", "--data-binary", f"@{picture}", url]
    print(f"\nimage  {picture}\n       {shlex.join(command)}")
    with DIRECT.open(request, timeout=30) as response:
        answer = json.load(response)
    mask.write_bytes(base64.b64decode(answer["img_out"]))
    shown = {**answer, "img_out": f"{answer['img_out'][:24]}... ({len(answer['img_out'])} characters)"}
    print(f"       {json.dumps(shown)}\n       the mask is in {mask}")


def draw_cat() -> np.ndarray:
    """A ginger cat on a meadow, uint8 (SIZE, SIZE, 3) in OpenCV's BGR order."""
    rows = np.linspace(0, 1, SIZE)[:, np.newaxis, np.newaxis]
    scene = (np.array([210, 190, 150]) * (1 - rows) + np.array([70, 150, 95]) * rows) * np.ones((SIZE, SIZE, 1))
    scene += np.random.default_rng(7).normal(0, 6, scene.shape)
    image = np.clip(scene, 0, 255).astype(np.uint8)
    ginger, dark = (40, 120, 225), (20, 40, 60)
    cv2.ellipse(image, (120, 165), (46, 52), 0, 0, 360, ginger, -1, cv2.LINE_AA)  # body
    cv2.ellipse(image, (172, 185), (32, 9), -35, 0, 360, ginger, -1, cv2.LINE_AA)  # tail
    cv2.circle(image, (120, 95), 38, ginger, -1, cv2.LINE_AA)  # head
    for side in (-1, 1):
        ear = np.array([[120 + side * 34, 78], [120 + side * 30, 34], [120 + side * 8, 62]])
        cv2.fillConvexPoly(image, ear, ginger, cv2.LINE_AA)
        cv2.circle(image, (120 + side * 14, 90), 5, dark, -1, cv2.LINE_AA)  # eye
    cv2.ellipse(image, (120, 107), (5, 3), 0, 0, 360, dark, -1, cv2.LINE_AA)  # nose
    return image


if __name__ == "__main__":
    sys.exit(main())
