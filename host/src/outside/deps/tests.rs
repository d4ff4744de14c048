//! Manifests as they are read and as they are written again; no client runs here.
//!
//! Touches: nothing.
//! Change here: when a manifest or a lock file can be written in another way.

use super::*;
use crate::event::FaultKind;
use crate::outside::reading::{Hit, SearchOptions};

/// Files in memory.
struct Tree(BTreeMap<&'static str, String>);

impl ReadTree for Tree {
    fn revision(&self) -> String {
        "0".repeat(40)
    }

    fn size(&self, path: &str) -> Result<u64, Fault> {
        let text = self.0.get(path);
        let missing = || {
            Fault::new(
                FaultKind::NotFound,
                "workspace.not-found",
                "there is no such file".to_owned(),
            )
        };
        text.map(|text| text.len() as u64).ok_or_else(missing)
    }

    fn read(&self, path: &str, _: u64, _: u32) -> Result<Vec<u8>, Fault> {
        self.size(path)?;
        Ok(self.0[path].clone().into_bytes())
    }

    fn glob(&self, pattern: &str, _: u32) -> Result<Vec<String>, Fault> {
        let glob = globset::GlobBuilder::new(pattern)
            .literal_separator(true)
            .build()
            .unwrap();
        let glob = glob.compile_matcher();
        let paths = self.0.keys().filter(|path| glob.is_match(path));
        Ok(paths.map(|path| (*path).to_owned()).collect())
    }

    fn search(
        &self,
        _: &str,
        _: SearchOptions,
        _: Option<&str>,
        _: u32,
    ) -> Result<Vec<Hit>, Fault> {
        Ok(vec![])
    }
}

fn tree<const N: usize>(files: [(&'static str, &str); N]) -> Tree {
    Tree(files.map(|(path, text)| (path, text.to_owned())).into())
}

/// Each as `section name requirement version`.
fn read(manifest: &Manifest) -> Vec<String> {
    let one = |d: &Dependency| {
        let version = d.version.as_deref().unwrap_or("-");
        format!("{} {} {} {version}", d.section, d.name, d.requirement)
    };
    manifest.dependencies.iter().map(one).collect()
}

fn step(name: &str, from: &str, to: &str) -> Step {
    Step {
        name: name.into(),
        from: from.into(),
        to: to.into(),
    }
}

fn moved(ecosystem: Ecosystem, text: &str, steps: &[Step]) -> Result<String, DepsError> {
    let source = Source {
        path: "manifest",
        text,
    };
    let written = source.read(ecosystem)?;
    Ok(source.with(&source.moved(&written, steps)?))
}

const REQUIREMENTS: &str = "# Ours\r\n--index-url https://index.invalid/simple\r\n-r base.txt\r\n\r\n\
    Flask[async]==2.0.1  # web, by == hand\r\nrequests >=2.20,<3 ; python_version < \"3.12\"\r\nsix\r\n\
    ./local\r\ngit+https://host.invalid/x.git\r\npkg @ https://host.invalid/x.whl\r\nattrs ~= 21.4 \\\r\n    ; os_name == 'nt'\r\n";

#[test]
fn a_list_of_requirements_is_read_without_what_no_index_has() {
    let files = tree([("requirements.txt", REQUIREMENTS)]);
    let manifests = scan(&files).unwrap();
    assert_eq!(manifests[0].ecosystem, Ecosystem::Pip);
    let expected = [
        " Flask ==2.0.1 2.0.1",
        " requests >=2.20,<3 -",
        " six  -",
        " attrs ~= 21.4 -",
    ];
    assert_eq!(read(&manifests[0]), expected);
}

#[test]
fn in_a_list_of_requirements_nothing_but_versions_changes() {
    let steps = [
        step("flask", "2.0.1", "3.1.0"),
        step("requests", "2.29", "3.0.1"),
        step("attrs", "21.4", "22.2.0"),
        step("six", "1.15", "1.16"),
    ];
    let expected = REQUIREMENTS
        .replace("==2.0.1", "==3.1.0")
        .replace(">=2.20,<3", ">=2.20,<4")
        .replace("~= 21.4", "~= 22.2");
    assert_eq!(
        moved(Ecosystem::Pip, REQUIREMENTS, &steps).unwrap(),
        expected
    );
}

#[test]
fn a_pin_by_hashes_is_not_left_with_the_hashes_of_another_version() {
    let text = "idna==3.4 \\\n    --hash=sha256:00\nsix==1.15\n";
    let why = moved(Ecosystem::Pip, text, &[step("idna", "3.4", "3.5")]).unwrap_err();
    assert!(why.to_string().contains("hashes"), "{why}");
    let other = moved(Ecosystem::Pip, text, &[step("six", "1.15", "1.16")]).unwrap();
    assert_eq!(other, text.replace("1.15", "1.16"));
}

#[test]
fn what_cannot_be_read_is_told_with_its_line() {
    let cases = [
        (Ecosystem::Pip, "six\n??\n", 2),
        (Ecosystem::Pip, "six\nidna=>3\n", 2),
        (Ecosystem::Uv, "[project]\nname = \n", 2),
        (Ecosystem::Npm, "{\n \"dependencies\": {\n  \"a\": }\n}", 3),
        (
            Ecosystem::Npm,
            "{\n \"dependencies\": {\n  \"a\": 1 }\n}",
            3,
        ),
        (
            Ecosystem::Npm,
            "{\n \"dependencies\": {\n  \"a\": \"^1.\\u0030\" }\n}",
            3,
        ),
        (Ecosystem::Cargo, "[dependencies]\n\nserde = \"one\"\n", 3),
    ];
    for (ecosystem, text, expected) in cases {
        let told = Source { path: "x", text }.read(ecosystem).unwrap_err();
        let DepsError::Unreadable { path, line, .. } = &told else {
            panic!("{text}: {told}");
        };
        assert_eq!((path.as_str(), *line), ("x", expected), "{told}");
    }
}

const UV: &str = r#"# Ours
[project]
name = "app"
dependencies = [
    "Flask>=2.0,<3",  # web
    'idna == 3.4',
    "here",
    "mirrored>=1",
    "direct @ https://host.invalid/x.whl",
]
[project.optional-dependencies]
fast = ["orjson~=3.8.1; python_version >= '3.9'"]
[dependency-groups]
dev = [{ include-group = "lint" }, "pytest[extra]==7.*"]
[tool.uv.sources]
here = { path = "../here" }
mirrored = { index = "ours" }
"#;
const UV_LOCK: &str = r#"version = 1
[[package]]
name = "app"
version = "0.1.0"
source = { virtual = "." }
[[package]]
name = "part"
source = { editable = "parts/one" }
[[package]]
name = "flask"
version = "2.3.3"
dependencies = [{ name = "werkzeug" }]
[[package]]
name = "idna"
version = "3.4"
"#;

#[test]
fn a_project_of_uv_is_read_with_its_groups_and_members() {
    let member = "[project]\nname = \"part\"\ndependencies = [\"idna\"]\n";
    let files = tree([
        ("pyproject.toml", UV),
        ("uv.lock", UV_LOCK),
        ("parts/one/pyproject.toml", member),
        ("parts/two/pyproject.toml", member),
    ]);
    let manifests = scan(&files).unwrap();
    let paths: Vec<&str> = manifests.iter().map(|m| m.path.as_str()).collect();
    assert_eq!(paths, ["parts/one/pyproject.toml", "pyproject.toml"]);
    assert_eq!(read(&manifests[0]), ["dependencies idna  3.4"]);
    let expected = [
        "dependencies Flask >=2.0,<3 2.3.3",
        "dependencies idna == 3.4 3.4",
        "dependencies mirrored >=1 -",
        "fast orjson ~=3.8.1 -",
        "dev pytest ==7.* -",
    ];
    assert_eq!(read(&manifests[1]), expected);
    let gathered = gather(&files, &manifests[1]).unwrap();
    let gathered: Vec<&String> = gathered.keys().collect();
    assert_eq!(
        gathered,
        ["parts/one/pyproject.toml", "pyproject.toml", "uv.lock"]
    );
}

#[test]
fn in_a_project_nothing_but_versions_changes() {
    let steps = [
        step("flask", "2.3.3", "3.0.0"),
        step("IDNA", "3.4", "3.7"),
        step("orjson", "3.8.1", "3.9.2"),
        step("pytest", "7.4.0", "8.1.1"),
    ];
    let expected = UV
        .replace(">=2.0,<3\"", ">=2.0,<4\"")
        .replace("== 3.4", "== 3.7")
        .replace("~=3.8.1", "~=3.9.2")
        .replace("==7.*", "==8.*");
    assert_eq!(moved(Ecosystem::Uv, UV, &steps).unwrap(), expected);
    let crlf = |text: &str| text.replace('\n', "\r\n");
    assert_eq!(
        moved(Ecosystem::Uv, &crlf(UV), &steps).unwrap(),
        crlf(&expected)
    );
}

const POETRY: &str = r#"[tool.poetry]
name = "app"
[tool.poetry.dependencies]
python = "^3.9"
requests = {version = "^2.20", extras = ["socks"]}  # web
idna = '3.4'
local = { path = "../local" }
many = [{ version = "1", python = "<3" }]
[tool.poetry.group.dev.dependencies]
pytest = "*"
"#;

#[test]
fn a_project_of_poetry_is_read_and_written_as_poetry_means_it() {
    let lock = "[[package]]\nname = \"requests\"\nversion = \"2.29.0\"\n[package.dependencies]\nidna = \"*\"\n\
                [[package]]\nname = \"idna\"\nversion = \"3.4\"\n";
    let files = tree([("a/pyproject.toml", POETRY), ("a/poetry.lock", lock)]);
    let manifests = scan(&files).unwrap();
    assert_eq!(manifests[0].ecosystem, Ecosystem::Poetry);
    let expected = [
        "dependencies requests ^2.20 2.29.0",
        "dependencies idna 3.4 3.4",
        "dev pytest * -",
    ];
    let mut found = read(&manifests[0]);
    found.sort_by_key(|one| expected.iter().position(|e| e == one));
    assert_eq!(found, expected);
    let steps = [
        step("requests", "2.29.0", "3.0.2"),
        step("idna", "3.4", "3.7"),
    ];
    let expected = POETRY.replace("^2.20", "^3.0").replace("'3.4'", "'3.7'");
    assert_eq!(moved(Ecosystem::Poetry, POETRY, &steps).unwrap(), expected);
}

const NPM: &str = "{\n\t\"name\": \"app\",\n\t\"workspaces\": [\"parts/*\"],\n\t\"dependencies\": {\n\t\t\"@scope/left\" : \"^1.2.0\",\n\
    \t\t\"alias\": \"npm:other@^1\",\n\t\t\"git\": \"owner/repo#main\",\n\t\t\"here\": \"file:../here\"\n\t},\n\
    \t\"devDependencies\": { \"tool\": \"1.0.0 - 1.9.9\" }\n}";
const NPM_LOCK: &str = r#"{ "lockfileVersion": 3, "packages": {
  "": { "name": "app" },
  "parts/one": { "name": "one" },
  "node_modules/one": { "resolved": "parts/one", "link": true },
  "node_modules/@scope/left": { "version": "1.3.0", "dependencies": { "deep": "1" } },
  "parts/one/node_modules/tool": { "version": "2.0.0" },
  "node_modules/tool": { "version": "1.5.0" }
} }"#;

#[test]
fn a_package_of_npm_is_read_with_its_workspaces() {
    let member = "{\"devDependencies\": {\"tool\": \"^2.0.0\", \"@scope/left\": \"*\"}}";
    let files = tree([
        ("package.json", NPM),
        ("package-lock.json", NPM_LOCK),
        (".npmrc", "registry=https://index.invalid/\n"),
        ("parts/one/package.json", member),
        ("node_modules/x/package.json", member),
        ("yarned/package.json", member),
        ("yarned/yarn.lock", ""),
        ("alone/package.json", member),
    ]);
    let manifests = scan(&files).unwrap();
    let kept: Vec<_> = manifests
        .iter()
        .map(|m| (m.path.as_str(), m.lock.as_deref()))
        .collect();
    let lock = Some("package-lock.json");
    let expected = [
        ("alone/package.json", None),
        ("package.json", lock),
        ("parts/one/package.json", lock),
    ];
    assert_eq!(kept, expected);
    let expected = [
        "dependencies @scope/left ^1.2.0 1.3.0",
        "devDependencies tool 1.0.0 - 1.9.9 1.5.0",
    ];
    assert_eq!(read(&manifests[1]), expected);
    let expected = [
        "devDependencies tool ^2.0.0 2.0.0",
        "devDependencies @scope/left * 1.3.0",
    ];
    assert_eq!(read(&manifests[2]), expected);
    let gathered = gather(&files, &manifests[2]).unwrap();
    let gathered: Vec<&String> = gathered.keys().collect();
    assert_eq!(
        gathered,
        [
            ".npmrc",
            "package-lock.json",
            "package.json",
            "parts/one/package.json"
        ]
    );
}

#[test]
fn in_a_package_of_npm_nothing_but_versions_changes() {
    let steps = [
        step("@scope/left", "1.3.0", "2.0.0"),
        step("tool", "1.5.0", "2.1.0"),
    ];
    let expected = NPM
        .replace("^1.2.0", "^2.0.0")
        .replace("- 1.9.9", "- 2.1.0");
    assert_eq!(moved(Ecosystem::Npm, NPM, &steps).unwrap(), expected);
}

#[test]
fn the_first_kind_of_npms_lock_file_is_read_too() {
    let lock = r#"{"lockfileVersion": 1, "dependencies": {
        "a": {"version": "1.0.0", "requires": {"b": "^1"}, "dependencies": {"b": {"version": "1.1.0"}}},
        "b": {"version": "2.0.0"}}}"#;
    let files = tree([
        (
            "package.json",
            "{\"dependencies\": {\"a\": \"1\", \"b\": \"2\"}}",
        ),
        ("package-lock.json", lock),
    ]);
    let manifests = scan(&files).unwrap();
    assert_eq!(
        read(&manifests[0]),
        ["dependencies a 1 1.0.0", "dependencies b 2 2.0.0"]
    );
}

const CARGO: &str = r#"[workspace]
members = ["parts/*"]
[workspace.dependencies]
serde = { version = "1.0", features = ["derive"] } # words
log = "0.4"

[package]
name = "app"
[dependencies]
serde.workspace = true
part = { path = "parts/one", version = "1" }
renamed = { package = "rand", version = "0.7" }
[target.'cfg(unix)'.dev-dependencies.libc]
version = "=0.2.100"
"#;
const CARGO_LOCK: &str = r#"version = 4
[[package]]
name = "app"
version = "0.1.0"
dependencies = ["rand 0.7.3", "serde"]
[[package]]
name = "one"
version = "0.1.0"
[[package]]
name = "rand"
version = "0.7.3"
dependencies = ["libc"]
[[package]]
name = "rand"
version = "0.8.5"
[[package]]
name = "libc"
version = "0.2.100"
[[package]]
name = "serde"
version = "1.0.100"
checksum = "aa"
"#;

#[test]
fn a_workspace_of_cargo_is_read_where_versions_are_written() {
    let files = tree([
        ("Cargo.toml", CARGO),
        ("Cargo.lock", CARGO_LOCK),
        (".cargo/config.toml", ""),
        (
            "parts/one/Cargo.toml",
            "[package]\nname = \"one\"\n[dependencies]\nrand = \"0.8\"\nlog.workspace = true\n",
        ),
        (
            "fuzz/Cargo.toml",
            "[package]\nname = \"fuzz\"\n[dependencies]\nrand = \"0.8\"\n",
        ),
    ]);
    let manifests = scan(&files).unwrap();
    let kept: Vec<_> = manifests
        .iter()
        .map(|m| (m.path.as_str(), m.lock.as_deref()))
        .collect();
    let lock = Some("Cargo.lock");
    let expected = [
        ("Cargo.toml", lock),
        ("fuzz/Cargo.toml", None),
        ("parts/one/Cargo.toml", lock),
    ];
    assert_eq!(kept, expected);
    let mut found = read(&manifests[0]);
    found.sort();
    let expected = [
        "dependencies rand 0.7 0.7.3",
        "target.cfg(unix).dev-dependencies libc =0.2.100 0.2.100",
        "workspace.dependencies log 0.4 -",
        "workspace.dependencies serde 1.0 1.0.100",
    ];
    assert_eq!(found, expected);
    assert_eq!(read(&manifests[2]), ["dependencies rand 0.8 0.8.5"]);
    assert_eq!(gather(&files, &manifests[2]).unwrap().len(), 5);
}

#[test]
fn in_a_manifest_of_cargo_nothing_but_versions_changes() {
    let steps = [
        step("serde", "1.0.100", "2.1.3"),
        step("rand", "0.7.3", "0.8.5"),
        step("libc", "0.2.100", "0.2.150"),
    ];
    let expected = CARGO
        .replace("\"1.0\"", "\"2.1\"")
        .replace("\"0.7\"", "\"0.8\"")
        .replace("=0.2.100", "=0.2.150");
    assert_eq!(moved(Ecosystem::Cargo, CARGO, &steps).unwrap(), expected);
}

#[test]
fn a_pin_is_written_with_its_reason_where_there_are_comments() {
    let pinned = |ecosystem, text: &str, name: &str, to: &str| {
        let source = Source { path: "x", text };
        let written = source.read(ecosystem).unwrap();
        let changes = source.pinned(&written, &[step(name, to, to)]).unwrap();
        source.with_comments(&changes, "why")
    };
    let cases = [
        (
            Ecosystem::Pip,
            "six\nidna>=3 # x\n",
            "idna",
            "3.4",
            "six\n# why\nidna==3.4 # x\n",
        ),
        (
            Ecosystem::Pip,
            "six\r\n",
            "six",
            "1.16",
            "# why\r\nsix==1.16\r\n",
        ),
        (
            Ecosystem::Uv,
            "[project]\ndependencies = [\n    \"six\",\n]\n",
            "six",
            "1.16",
            "[project]\ndependencies = [\n    # why\n    \"six==1.16\",\n]\n",
        ),
        (
            Ecosystem::Cargo,
            "[dependencies]\nlog = \"0.4\"\n[dev-dependencies]\nlog = \"0.4\"\n",
            "log",
            "0.4.20",
            "[dependencies]\n# why\nlog = \"=0.4.20\"\n[dev-dependencies]\n# why\nlog = \"=0.4.20\"\n",
        ),
        (
            Ecosystem::Poetry,
            "[tool.poetry.dependencies]\nsix = \"*\"\n",
            "six",
            "1.16",
            "[tool.poetry.dependencies]\n# why\nsix = \"1.16\"\n",
        ),
    ];
    for (ecosystem, text, name, to, expected) in cases {
        assert_eq!(pinned(ecosystem, text, name, to), expected);
    }
}

#[test]
fn what_pip_compile_writes_is_read_with_who_asked_for_it() {
    let lock = "#\n# This file is autogenerated by pip-compile with Python 3.11\n# by the following command:\n#\n\
                #    pip-compile\n#\nidna==3.4 \\\n    --hash=sha256:00\n    # via\n    #   -r requirements.in\n    #   requests\n\
                requests==2.29.0\n    # via -r requirements.in\nsix==1.16\n    # via other\n";
    let files = tree([
        ("requirements.in", "requests<2.30\n"),
        ("requirements.txt", lock),
        ("MANIFEST.in", "include x\n"),
    ]);
    let manifests = scan(&files).unwrap();
    assert_eq!(manifests.len(), 1);
    assert_eq!(manifests[0].ecosystem, Ecosystem::PipTools);
    assert_eq!(read(&manifests[0]), [" requests <2.30 2.29.0"]);
    let after = lock
        .replace("idna==3.4", "idna==3.5")
        .replace("six==1.16", "six==1.17");
    let said = told(
        &files,
        "requirements.txt",
        &after,
        &[step("requests", "2.29.0", "2.29.0")],
    );
    assert_eq!(
        said,
        ["six: went from 1.16 to 1.17, though nothing that was updated needs it"]
    );
}

/// What is unexplained where this lock file takes the other's place.
fn told(files: &Tree, lock: &str, after: &str, steps: &[Step]) -> Vec<String> {
    let manifests = scan(files).unwrap();
    let manifest = manifests
        .iter()
        .find(|m| m.lock.as_deref() == Some(lock))
        .unwrap();
    let updated = Updated {
        files: BTreeMap::from([(lock.to_owned(), after.as_bytes().to_vec())]),
        packages: BTreeMap::new(),
    };
    unexplained(&gather(files, manifest).unwrap(), manifest, &updated, steps).unwrap()
}

#[test]
fn what_an_updated_package_needs_is_explained_and_the_rest_is_told() {
    let files = tree([("Cargo.toml", CARGO), ("Cargo.lock", CARGO_LOCK)]);
    let after = CARGO_LOCK
        .replace("0.7.3", "0.7.4")
        .replace("0.2.100", "0.2.101")
        .replace("\"1.0.100\"", "\"1.0.101\"");
    let said = told(
        &files,
        "Cargo.lock",
        &after,
        &[step("rand", "0.7.3", "0.7.4")],
    );
    assert_eq!(
        said,
        ["serde: went from 1.0.100 to 1.0.101, though nothing that was updated needs it"]
    );
    let other = CARGO_LOCK.replace("\"aa\"", "\"bb\"");
    let said = told(
        &files,
        "Cargo.lock",
        &other,
        &[step("rand", "0.7.3", "0.7.3")],
    );
    assert_eq!(
        said,
        ["serde: 1.0.100 is not what it was; its contents have another digest"]
    );
}

#[test]
fn a_script_that_newly_runs_at_installation_is_told_even_of_what_was_updated() {
    let files = tree([("package.json", NPM), ("package-lock.json", NPM_LOCK)]);
    let after = NPM_LOCK
        .replace(
            "\"version\": \"1.3.0\"",
            "\"version\": \"1.4.0\", \"hasInstallScript\": true",
        )
        .replace(
            "{ \"version\": \"1.5.0\"",
            "{ \"version\": \"1.5.0\" }, \"node_modules/deep\": { \"version\": \"1.0.0\"",
        );
    let said = told(
        &files,
        "package-lock.json",
        &after,
        &[step("@scope/left", "1.3.0", "1.4.0")],
    );
    assert_eq!(
        said,
        ["@scope/left: newly runs a script when it is installed"]
    );
}
