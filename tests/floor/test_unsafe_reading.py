"""Nothing that somebody else wrote can become code: the words that would make it so are nowhere in the code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODULES = {"pickle", "cPickle", "dill", "marshal", "shelve", "jsonpickle", "joblib", "cloudpickle", "xmlrpc"}
CALLS = {
    "eval",
    "exec",
    "os.system",
    "os.popen",
    "yaml.load",
    "yaml.load_all",
    "yaml.full_load",
    "yaml.unsafe_load",
    "subprocess.getoutput",
    "subprocess.getstatusoutput",
    "shutil.unpack_archive",
    "tempfile.mktemp",
}
EXTRACTION = {"extractall", "extract"}  # of tarfile and zipfile
LOADERS = {"UnsafeLoader", "FullLoader", "Loader", "CLoader"}


def dangers(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.split(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom):
            if (node.module or "").split(".")[0] in MODULES:
                yield str(node.module)
            if node.module == "yaml":
                yield from (name.name for name in node.names if name.name in LOADERS)
        elif isinstance(node, ast.Call):
            word = ast.unparse(node.func)
            if word in CALLS or word.split(".")[-1] in EXTRACTION:
                yield word
            if any(
                k.arg == "shell" and not (isinstance(k.value, ast.Constant) and not k.value.value)
                for k in node.keywords
            ):
                yield f"{word}(shell=...)"
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in {f"yaml.{name}" for name in LOADERS}:
            yield ast.unparse(node)


def test_no_module_of_ours_reads_what_can_run() -> None:
    found = {
        str(file.relative_to(ROOT)): words
        for room in ("connector", "vddk", "nfc", "simulator")
        for file in (ROOT / room).rglob("*.py")
        if (words := list(dangers(file.read_text())))
    }
    assert found == {}


def test_the_look_sees_each_kind() -> None:
    for line in (
        "import pickle",
        "from marshal import loads",
        "eval(text)",
        "yaml.load(text)",
        "yaml.load(text, Loader=yaml.UnsafeLoader)",
        "archive.extractall(place)",
        "subprocess.run(text, shell=True)",
        "subprocess.run(text, shell=flag)",
        "os.system(text)",
    ):
        assert list(dangers(line)), line
