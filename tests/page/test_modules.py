"""Modules are joined in the order in which a browser would run them; the rest is refused."""

from pathlib import Path

import pytest

from graphgrad.page.modules import ModuleError, join_modules, load_modules


def written(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_each_module_stands_after_those_that_it_imports(tmp_path: Path) -> None:
    imports = {
        "main.js": ["core/view.js", "panels/a.js", "core/model.js"],
        "panels/a.js": ["core/model.js", "core/view.js"],
        "core/view.js": ["core/model.js", "core/elements.js"],
        "core/model.js": ["core/elements.js"],
        "core/elements.js": [],
    }
    files = {
        name: "".join(f'import "{"../" if "/" in name else "./"}{other}";\n' for other in imported)
        + "run();\n"
        for name, imported in imports.items()
    }
    order = [module.path for module in load_modules(written(tmp_path, files), "main.js")]
    assert order == ["core/elements.js", "core/model.js", "core/view.js", "panels/a.js", "main.js"]
    for name, imported in imports.items():
        assert all(order.index(other) < order.index(name) for other in imported)


def test_imports_exports_and_comments_between_declarations_are_left_out(tmp_path: Path) -> None:
    files = {
        "main.js": '/* What it\nis for. */\n\nimport { a, b } from "./ab.js";\n\n'
        "/* Says\nimport. */\nconst c = a + b(); // a remark\nshow(c);\n",
        "ab.js": "export let a = 1;\n\n/** @type {any} */\nexport async function b() {\n"
        "  /* here */ const export1 = a;\n}\nexport class C {}\nfunction own() {}\n",
    }
    assert join_modules(written(tmp_path, files), "main.js") == (
        '"use strict";\n(() => {\n'
        "let a = 1;\n\nasync function b() {\n  /* here */ const export1 = a;\n}\n"
        "class C {}\nfunction own() {}\n\n"
        "{\nconst c = a + b(); // a remark\nshow(c);\n}\n})();\n"
    )


def test_modules_that_export_nothing_keep_their_names_to_themselves(tmp_path: Path) -> None:
    files = {
        "main.js": 'import "./one.js";\nimport "./two.js";\n',
        "one.js": "const a = 1;\n",
        "two.js": "const a = 2;\n",
    }
    script = join_modules(written(tmp_path, files), "main.js")
    assert "{\nconst a = 1;\n}\n" in script and "{\nconst a = 2;\n}\n" in script


A = "export const a = 1;\n"
REFUSED = {
    "default export": ({"main.js": "const a = 1;\nexport default a;\n"}, "main.js:2", "export"),
    "list of exports": ({"main.js": "const a = 1;\nexport { a };\n"}, "main.js:2", "export"),
    "export of another": (
        {"main.js": '\nexport * from "./a.js";\n', "a.js": A},
        "main.js:2",
        "export",
    ),
    "default import": ({"main.js": 'import a from "./a.js";\n', "a.js": A}, "main.js:1", "import"),
    "all of a module": (
        {"main.js": '/* one\ntwo */\nimport * as a from "./a.js";\n', "a.js": A},
        "main.js:3",
        "import",
    ),
    "renamed import": (
        {"main.js": 'import {\n  a as b,\n} from "./a.js";\n', "a.js": A},
        "main.js:1",
        "'a as b' cannot be imported",
    ),
    "not a file": ({"main.js": 'import { a } from "lit";\n'}, "main.js:1", "'lit' is not a file"),
    "no such file": ({"main.js": '\nimport "./b.js";\n'}, "main.js:2", "no module b.js"),
    "outside the folder": ({"main.js": 'import "../b.js";\n'}, "main.js:1", "no module ../b.js"),
    "nothing exported": (
        {"main.js": 'import { a, b } from "./a.js";\n', "a.js": A + "const b = 2;\n"},
        "main.js:1",
        "a.js does not export 'b'",
    ),
    "imported and declared": (
        {"main.js": 'import { a } from "./a.js";\n\nfunction a() {}\n', "a.js": A},
        "main.js:1",
        "'a' is imported here and declared in line 3",
    ),
    "declared twice": (
        {
            "main.js": 'import { a } from "./a.js";\nimport { b } from "./b.js";\n',
            "a.js": A + "function own() {}\n",
            "b.js": "export const b = 2;\n\nconst own = 3;\n",
        },
        "b.js:3",
        "'own' is declared here and in a.js:2",
    ),
    "circle": (
        {
            "main.js": 'import "./a.js";\n',
            "a.js": 'import "./b.js";\n' + A,
            "b.js": '\nimport { a } from "./a.js";\n',
        },
        "b.js:2",
        "a.js imports b.js imports a.js",
    ),
    "itself": ({"main.js": 'import "./main.js";\n'}, "main.js:1", "main.js imports main.js"),
    "pattern": ({"main.js": "run();\nconst { a, b } = c;\n"}, "main.js:2", "not of one name"),
    "two names": ({"main.js": "let one, two;\n"}, "main.js:1", "not of one name"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_joined_is_refused_with_file_and_line(name: str, tmp_path: Path) -> None:
    files, where, problem = REFUSED[name]
    with pytest.raises(ModuleError) as caught:
        join_modules(written(tmp_path, files), "main.js")
    assert caught.value.where == where
    assert problem in caught.value.problem
