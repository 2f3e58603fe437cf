"""Ask any model through TensorFlow Serving's REST API, with nothing but the standard library.

Usage: python scripts/clients/with_rest.py [ADDRESS]   (default: http://127.0.0.1:8080)

The same calls work against a TensorFlow Serving itself, but for the list of models.
"""

import argparse
import gzip
import json
import urllib.error
import urllib.request
from typing import Any

# The service is in one's own network: a proxy of the environment (http_proxy) would look for 127.0.0.1 on itself.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def call(url: str, body: dict[str, Any] | None = None) -> Any:
    """GET, or POST where there is a body, which goes gzipped. An error is raised with the server's own words."""
    request = urllib.request.Request(url)
    if body is not None:
        request.data = gzip.compress(json.dumps(body).encode())
        request.add_header("Content-Type", "application/json")
        request.add_header("Content-Encoding", "gzip")
    try:
        with DIRECT.open(request, timeout=15) as response:
            return json.load(response)
    except urllib.error.HTTPError as exc:
        raise RuntimeError(f"{exc.code}: {json.load(exc)['error']}") from exc
    except urllib.error.URLError as exc:
        raise SystemExit(f"no answer: {exc.reason}") from exc


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", nargs="?", default="http://127.0.0.1:8080")
    models = f"{parser.parse_args().address}/v1/models"

    for model in call(models)["models"]:
        states = {each["version"]: each["state"] for each in model["model_version_status"]}
        print(f"{model['name']}: versions {states}, labels {model['version_labels']}")
    metadata = call(f"{models}/lstm/metadata")
    version = metadata["model_spec"]["version"]
    signature = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]
    print("inputs:", {name: info["dtype"] for name, info in sorted(signature["inputs"].items())})

    # Rows: a list of examples. All need the same shape: the shorter text is padded, `nwords` is its true length.
    rows = [
        {"words": ["非常", "讨厌", ""], "nwords": 2},
        {"words": ["我", "很", "喜欢"], "nwords": 3},
    ]
    for prediction in call(f"{models}/lstm:predict", {"instances": rows})["predictions"]:
        print("row:", prediction["labels"], prediction["softmax"])

    # Columns: whole tensors by name. A version, or a label, can be asked for.
    columns = {name: [row[name] for row in rows] for name in ("words", "nwords")}
    outputs = call(f"{models}/lstm/versions/{version}:predict", {"inputs": columns})["outputs"]
    print("column:", outputs["labels"])

    try:
        call(f"{models}/lstm:predict", {"instances": [{"words": ["好"]}]})
    except RuntimeError as exc:
        print("rejected:", " ".join(str(exc).split()))


if __name__ == "__main__":
    main()
