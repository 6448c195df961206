"""Importing escnn_soft takes nothing with it, and escnn is mended whoever imports it, and in whatever order."""

import ast
import importlib
import inspect
import json
import pydoc
import warnings
from pathlib import Path

import pytest

import escnn_soft
from escnn_soft.cli import main
from tests.processes import python

MENDED = """
from escnn.group import _numerical
import sys
assert _numerical.null.__module__ == "escnn_soft._compat.mending", _numerical.null
assert _numerical.randomized_svd is None
assert not [finder for finder in sys.meta_path if type(finder).__module__ == "escnn_soft._compat"]
assert type(sys.modules["escnn"].__spec__.loader).__module__ != "escnn_soft._compat"
"""

COMMANDS = ("demo", "spectrum", "certify", "soften", "harden", "convert")

ORDERS = {
    "escnn first": "import escnn; import escnn_soft",
    "escnn last": "import escnn_soft; import escnn",
    "a part of escnn last": "import escnn_soft; from escnn.gspaces import rot2dOnR2",
    "one of our names": "from escnn_soft import SoftR2Conv",
    "a module of ours": "import escnn_soft.functions.grid",
    "the mending itself": "import escnn_soft._compat.racah, escnn_soft._compat.mending",
    "reloads": """
        import importlib, escnn_soft, escnn
        importlib.reload(escnn_soft)
        importlib.reload(escnn_soft._compat)
        importlib.reload(escnn)
        """,
    "found before it is imported": """
        import importlib.util, sys, escnn_soft
        spec = importlib.util.find_spec("escnn")
        assert "escnn" not in sys.modules
        assert spec.name == "escnn" and spec.submodule_search_locations
        assert spec.loader.get_filename("escnn").endswith("__init__.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules["escnn"] = module
        spec.loader.exec_module(module)
        """,
    "an import that failed before": """
        import sys, tempfile, pathlib, escnn_soft
        folder = tempfile.TemporaryDirectory()
        broken = pathlib.Path(folder.name, "escnn.py")
        broken.write_text("raise OSError('broken')")
        sys.path.insert(0, folder.name)
        try:
            import escnn
        except OSError:
            sys.path.remove(folder.name)
        else:
            raise AssertionError
        import escnn
        """,
    "threads": """
        import importlib, threading
        names = ["escnn", "escnn_soft", "escnn_soft.groups", "escnn.nn", "escnn_soft.functions", "escnn.group"]
        threads = [threading.Thread(target=importlib.import_module, args=(name,)) for name in names]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        """,
}


FORKED = """
import contextlib, io, json, os, sys, traceback
import autograd, joblib, pymanopt, scipy.linalg, scipy.optimize, sklearn.utils.extmath, torch._dynamo
with contextlib.suppress(ModuleNotFoundError):
    import torch_geometric
# this is what takes long in escnn's import: once for all orders

failed = {{}}
for name, program in {programs!r}.items():
    reading, writing = os.pipe()
    if os.fork() == 0:
        try:
            exec(program, {{"__name__": "__main__"}})
        except BaseException:
            os.write(writing, traceback.format_exc().encode()[-4000:] or b"failed")
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        failed[name] = pipe.read().decode()
    os.wait()
print(json.dumps(failed))
"""


def test_escnn_is_mended_in_every_order_of_imports() -> None:
    programs = {name: f"{inspect.cleandoc(program)}\n{MENDED}" for name, program in ORDERS.items()}
    failed = json.loads(python(FORKED.format(programs=programs)).splitlines()[-1])
    assert failed == dict.fromkeys(ORDERS, "")


def test_escnn_is_mended_in_processes_that_are_spawned(tmp_path) -> None:
    program = f"""
import multiprocessing
import escnn_soft

def check():
{chr(10).join("    " + line for line in MENDED.strip().splitlines())}

if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=check)
    process.start()
    process.join()
    print(process.exitcode)
"""
    (tmp_path / "spawning.py").write_text(program)
    assert python(f"import runpy; runpy.run_path({str(tmp_path / 'spawning.py')!r}, run_name='__main__')") == "0\n"


# ---------------------------------------------------------------------- the package's names


def test_the_package_takes_nothing_with_it() -> None:
    program = "import sys, escnn_soft, escnn_soft.cli; print({'torch', 'escnn', 'numpy', 'scipy'} & set(sys.modules))"
    assert python(program) == "set()\n"


def test_nothing_of_ours_imports_what_takes_long() -> None:
    program = """
import sys

class Watch:
    found = set()

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("sklearn", "pandas", "torch_geometric") or name.startswith("torch._dynamo"):
            frame = sys._getframe(1)
            while frame is not None:  # escnn imports some of them, whoever imports escnn
                room = frame.f_globals.get("__name__", "").split(".")[0]
                if room in ("escnn", "escnn_soft"):
                    self.found |= {(room, name)}
                    break
                frame = frame.f_back

sys.meta_path.insert(0, Watch())
from escnn_soft import *
print(sorted(name for room, name in Watch.found if room == "escnn_soft"))
print(any(room == "escnn" for room, _ in Watch.found))
"""
    assert python(program).split("\n")[:2] == ["[]", "True"]


@pytest.mark.parametrize("words", [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)])
def test_help_imports_no_package(words) -> None:
    program = f"""
import sys
from escnn_soft.cli import main
try:
    main({words})
except SystemExit as stop:
    print("exit", stop.code, {{"torch", "escnn", "numpy", "scipy"}} & set(sys.modules))
"""
    assert python(program).endswith("exit 0 set()\n")


def test_version(capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"escnn-soft {escnn_soft.__version__}\n"


def test_type_checkers_see_the_names_that_there_are() -> None:
    tree = ast.parse(Path(escnn_soft.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.name: (node.module, alias.name)
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.module != "escnn_soft"
        for alias in node.names
    }
    assert seen == escnn_soft._HOMES
    assert set(escnn_soft.__all__) == {*seen, "errors", "groups", "metrics", "__version__"}


def test_every_name_is_the_object_of_its_room() -> None:
    namespace: dict[str, object] = {}
    exec("from escnn_soft import *", namespace)
    for name, (module, there) in escnn_soft._HOMES.items():
        assert namespace[name] is getattr(importlib.import_module(module), there) is getattr(escnn_soft, name)
    assert set(escnn_soft.__all__) <= namespace.keys()
    assert set(escnn_soft.__all__) <= set(dir(escnn_soft))


def test_rooms_are_attributes() -> None:
    program = "import escnn_soft; print(*(getattr(escnn_soft, name).__name__ for name in escnn_soft._ROOMS))"
    assert python(program).split() == [f"escnn_soft.{name}" for name in escnn_soft._ROOMS]


def test_help_in_python_shows_the_names() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        text = pydoc.plain(pydoc.render_doc(escnn_soft))
    assert "class SoftR2Conv" in text
    assert "certify(" in text


def test_no_other_name() -> None:
    assert not hasattr(escnn_soft, "nonsense")
    with pytest.raises(ImportError, match="nonsense"):
        from escnn_soft import nonsense  # noqa: F401
