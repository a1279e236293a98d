"""A recogniser with a second opinion: PocketSphinx decodes, the service rescores, the best is printed twice.

    recognise.py FOLDER     of NAME.wav (16,000 samples a second, mono, 16 bits) and, where it is known what
                            was said, `text`: a line `NAME words` for each

NBEST_URL    where the service is; http://nbest:8000
NBEST_KEY    a key of the service, where it wants one
NBEST_MODEL  a model of the service; base
"""

import math
import os
import sys
import wave
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from nbest_client import Client, FailedList, Hypothesis, NbestClientError, NbestList

PATHS, HYPOTHESES = 1000, 100  # at most: paths looked at, and different texts kept
RATE = 16000
# What the recogniser tells of a path is exp(score / 1024): it shifts scores by ten bits (its hmm.h).
SHIFT = 2.0**10


def samples(path: Path) -> bytes:
    """A recording's samples; raises ValueError for one of another kind."""
    with wave.open(str(path)) as file:
        found = (file.getframerate(), file.getnchannels(), 8 * file.getsampwidth())
        if found != (RATE, 1, 16):
            raise ValueError(
                f"{path}: not a recording to decode; expected {RATE} Hz, 1 channel, 16 bits; "
                f"got {found[0]} Hz, {found[1]}, {found[2]}"
            )
        return file.readframes(file.getnframes())


def ranked(paths: Iterable[Any]) -> list[Hypothesis]:
    """The different texts of the paths, each with the score of its best one, best first.

    `total` is the recogniser's, in natural logarithms: acoustics, and its own language model times a weight.
    Paths that differ in pauses and pronunciations only have the same text, and do not come quite in order.
    """
    best: dict[str, float] = {}
    for path in islice(paths, PATHS):
        if path.hypstr and (path.hypstr in best or len(best) < HYPOTHESES):
            best[path.hypstr] = max(best.get(path.hypstr, -math.inf), SHIFT * math.log(path.score))
    return [Hypothesis(text, {"total": best[text]}) for text in sorted(best, key=lambda text: -best[text])]


def decode(decoder: Any, recording: bytes) -> tuple[str, list[Hypothesis]]:
    """What the recogniser understands, and what else it may have been."""
    decoder.start_utt()
    decoder.process_raw(recording, full_utt=True)
    decoder.end_utt()
    heard = decoder.hyp()
    return (heard.hypstr, ranked(decoder.nbest())) if heard is not None and heard.hypstr else ("", [])


def references(folder: Path) -> dict[str, str]:
    """What was said, by recording."""
    path = folder / "text"
    lines = path.read_text("utf-8").split("\n") if path.exists() else []
    return {name: words for name, _, words in (line.partition(" ") for line in lines if line)}


def main(folder: Path) -> int:
    """1 if a recording was not understood or its list could not be rescored."""
    from pocketsphinx import Decoder

    decoder = Decoder(samprate=RATE, loglevel="FATAL")
    model = os.environ.get("NBEST_MODEL") or "base"
    # The model's say is as large as that of the recogniser's own language model.
    weights = {"features": {"total": 1.0, model: decoder.config["bestpathlw"]}}
    before: dict[str, str] = {}
    after: dict[str, str] = {}
    signature, failed = "nothing", 0
    with Client(os.environ.get("NBEST_URL") or "http://nbest:8000") as client:
        for path in sorted(folder.glob("*.wav")):
            heard, hypotheses = decode(decoder, samples(path))
            if not hypotheses:
                print(f"{path.stem}: nothing was understood", file=sys.stderr)
                failed += 1
                continue
            one = NbestList(path.stem, hypotheses)
            answer = client.rescore([one], models=[model], weights=weights, top_k=1)
            (result,) = answer.results
            if isinstance(result, FailedList):
                print(f"{path.stem}: {result.error.detail}", file=sys.stderr)
                failed += 1
                continue
            before[path.stem], after[path.stem], signature = heard, result.best.text, answer.signature
            print(f"{path.stem} before: {before[path.stem]}")
            print(f"{path.stem} after:  {after[path.stem]}", flush=True)
        said = references(folder)
        if known := [name for name in after if name in said]:
            wer = [
                client.evaluate("wer", [texts[name] for name in known], [said[name] for name in known]).score
                for texts in (before, after)
            ]
            print(f"word errors of {len(known)}: {wer[0]:.1f}% before, {wer[1]:.1f}% after")
    print(f"{len(after)} lists rescored by {signature}")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1])))
    except (NbestClientError, ValueError, wave.Error) as error:
        sys.exit(str(error))
