"""What a decoder does with the service: posts its n-best lists, prints each best hypothesis before and after.

    decode.py LISTS.jsonl

NBEST_URL   where the service is; http://nbest:8000
NBEST_KEY   a key of the service, where it wants one
NBEST_MODEL a model of the service; without it the first that the service names, if it has any
"""

import json
import os
import sys
import urllib.error
import urllib.request
from typing import Any

URL = os.environ.get("NBEST_URL", "http://nbest:8000")
TIMEOUT_SECONDS = 60

# The recogniser's own weights: its language model counts as much as nine and a half acoustic models.
WEIGHTS = {"ac": 1.0, "lm": 9.5}


def ask(path: str, body: object = None) -> Any:
    """The service's answer as JSON; without a body a GET."""
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get("NBEST_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    request = urllib.request.Request(
        URL + path,
        data=None if body is None else json.dumps(body).encode(),
        headers=headers,
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
        return json.load(answer)


def choose_model() -> str | None:
    """The model to rescore with, or None where the service has none."""
    names: list[str] = [model["name"] for model in ask("/v1/models")["models"]]
    return os.environ.get("NBEST_MODEL") or (names[0] if names else None)


def main(path: str) -> int:
    """Posts every list of the file at once; 1 if any of them could not be rescored."""
    with open(path, encoding="utf-8") as stream:
        lists = [json.loads(line) for line in stream]
    for one in lists:
        one.pop("references", None)
    model = choose_model()
    # The new model takes half of the old one's weight.
    weights = {"ac": 1.0, "lm": 4.75, model: 4.75} if model else WEIGHTS
    answer = ask(
        "/rescore",
        {"models": [model] if model else [], "weights": {"features": weights}, "lists": lists},
    )
    failed = 0
    for one, result in zip(lists, answer["results"], strict=True):
        if result.get("error"):
            print(f"{one['id']}: {result['error']['detail']}", file=sys.stderr)
            failed += 1
            continue
        print(f"{one['id']} before: {one['hypotheses'][0]['text']}")
        print(f"{one['id']} after:  {result['ranking'][0]['text']}")
    print(f"{len(lists) - failed} lists rescored by {answer['signature']}")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1]))
    except urllib.error.HTTPError as error:
        sys.exit(f"{URL} answered {error.code}: {error.read().decode(errors='replace')}")
    except urllib.error.URLError as error:
        sys.exit(f"{URL} cannot be reached: {error.reason}")
