"""What the source never does: run code that comes from data, or write to a path that data names."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src/robustft"
FILES = sorted(SOURCE.rglob("*.py"))

FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "input"}
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "tarfile", "zipfile"}
FORBIDDEN_METHODS = {
    ("yaml", "load"),
    ("yaml", "unsafe_load"),
    ("torch", "load"),
    ("torch", "save"),
    ("torch", "hub"),
    ("pd", "read_pickle"),
    ("shutil", "unpack_archive"),
    ("os", "system"),
    ("os", "popen"),
}


def offences(tree: ast.AST) -> list[str]:
    """Return what a module does that none may."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.partition(".")[0] in FORBIDDEN_MODULES]
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in FORBIDDEN_MODULES:
            found.append(str(node.module))
        if isinstance(node, ast.ImportFrom):
            found += [f"{module}.{name}" for module, name in FORBIDDEN_METHODS if _brings(node, module, name)]
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id in FORBIDDEN_CALLS:
            found.append(node.func.id)
        if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
            name = node.func.value.id, node.func.attr
            if name in FORBIDDEN_METHODS:
                found.append(".".join(name))
        for keyword in node.keywords:
            always = isinstance(keyword.value, ast.Constant) and keyword.value.value is True
            if keyword.arg in {"shell", "allow_pickle", "trust_remote_code"} and always:
                found.append(f"{keyword.arg}=True")
    return found


def _brings(node: ast.ImportFrom, module: str, name: str) -> bool:
    return node.module == {"np": "numpy", "pd": "pandas"}.get(module, module) and name in [a.name for a in node.names]


@pytest.mark.parametrize("path", FILES, ids=[path.relative_to(SOURCE).as_posix() for path in FILES])
def test_no_code_comes_from_data(path: Path) -> None:
    assert offences(ast.parse(path.read_text(encoding="utf-8"))) == []


def test_an_offence_would_be_found() -> None:
    lines = ["import pickle", "from joblib import load", "eval('1')", "yaml.load(x)", "np.load(f, allow_pickle=True)"]
    code = "\n".join([*lines, "run(shell=True)", "from os import path, system", "from pandas import read_pickle as r"])
    assert sorted(offences(ast.parse(code))) == sorted(
        ["pickle", "joblib", "eval", "yaml.load", "allow_pickle=True", "shell=True", "os.system", "pd.read_pickle"]
    )
