"""`python -m tests.fuzz.hunt TARGET SECONDS SEED`: libFuzzer, led by what of the readers was reached, for so long.

Exit code 0: nothing found. Else the input that failed has become a seed, and the end of what is printed says why.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from random import Random
from typing import Any

import atheris

READERS = (
    "connector.transfer",
    "connector.instance",
    "connector.batch",
    "connector.sources.descriptor",
    "nfc",
)

with atheris.instrument_imports(include=list(READERS), enable_loader_override=False):
    from tests.fuzz.edits import LONGEST, WORDS
    from tests.fuzz.targets import TARGETS, Target
    from tests.fuzz.verdict import check


def main(name: str, seconds: str, seed: str) -> None:
    """Does not return: libFuzzer ends the process."""
    target = next(target for target in TARGETS if target.name == name)
    work = Path(tempfile.mkdtemp(prefix="fuzz-"))
    corpus = work / "corpus"
    corpus.mkdir()
    for number, data in enumerate(target.inputs()):
        (corpus / str(number)).write_bytes(data)
    words = work / "words"
    words.write_text("".join(f'"{_quoted(word)}"\n' for word in WORDS if len(word) < 64))
    target.seeds.mkdir(parents=True, exist_ok=True)
    options = [f"-max_total_time={seconds}", f"-seed={seed}", f"-max_len={LONGEST}", f"-dict={words}"]
    options += [f"-artifact_prefix={target.seeds}/", "-timeout=20", "-print_final_stats=1", str(corpus)]
    atheris.Setup([sys.argv[0], *options], lambda data: _try(target, data), custom_mutator=_mutator(target))
    atheris.Fuzz()


def _try(target: Target, data: bytes) -> None:
    check(target, data)


def _mutator(target: Target) -> Any:
    def mutate(data: bytes, size: int, seed: int) -> bytes:
        random = Random(seed)
        changed = bytes(atheris.Mutate(data, size))
        return target.mend(changed, random)[:size] if random.random() < 0.8 else changed

    return mutate


def _quoted(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


if __name__ == "__main__":
    main(*sys.argv[1:])
