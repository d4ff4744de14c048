//! Tools that mend, and tools that would like to get out.
//!
//! Touches: files, processes.
//! Change here: when `../footprint.rs` learns another trick.

use std::os::unix::fs::symlink;
use std::process::Command;

use super::*;

/// A directory with tracked files, to be changed.
struct Yard(tempfile::TempDir);

impl Yard {
    fn with(files: &[(&str, &str)]) -> (Yard, Footprint) {
        let yard = Yard(tempfile::tempdir().unwrap());
        for (path, text) in files {
            yard.write(path, text);
        }
        let tracked = files.iter().map(|(path, _)| path.to_string()).collect();
        let footprint = yard.look(tracked);
        (yard, footprint)
    }

    fn look(&self, tracked: BTreeSet<String>) -> Footprint {
        let footprint = Footprint::take(self.0.path(), tracked).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        footprint
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        std::fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        std::fs::write(self.at(path), text).unwrap();
    }
}

fn told(changed: &Changed) -> Vec<String> {
    let line = |(path, content): (&String, &Option<Vec<u8>>)| match content {
        Some(bytes) => format!("{path}={}", String::from_utf8_lossy(bytes)),
        None => format!("{path} gone"),
    };
    changed.iter().map(line).collect()
}

#[test]
fn edits_of_one_size_new_files_and_removals_are_seen() {
    let (yard, before) = Yard::with(&[("a.py", "x=1\n"), ("sub/b.py", "1"), ("old", "1")]);
    yard.write("a.py", "x=2\n");
    yard.write("fresh/deep/c.py", "new");
    std::fs::remove_file(yard.at("old")).unwrap();
    assert_eq!(
        told(&before.changes().unwrap()),
        ["a.py=x=2\n", "fresh/deep/c.py=new", "old gone"]
    );
}

#[test]
fn a_file_that_is_written_anew_under_its_name_is_seen() {
    let (yard, before) = Yard::with(&[("a", "old")]);
    yard.write("a.tmp", "new");
    std::fs::rename(yard.at("a.tmp"), yard.at("a")).unwrap();
    assert_eq!(told(&before.changes().unwrap()), ["a=new"]);
}

#[test]
fn what_gitignore_names_does_not_count() {
    let (yard, before) = Yard::with(&[
        (".gitignore", "*.pyc\n/build/\n!keep.pyc\n# a comment\n"),
        ("sub/.gitignore", "*.log\n"),
        ("forced.pyc", "tracked all the same"),
    ]);
    for path in [
        "a.pyc",
        "sub/x.log",
        "build/out.txt",
        "sub/build/out.txt",
        "keep.pyc",
        "x.log",
        "forced.pyc",
    ] {
        yard.write(path, "made");
    }
    // As ruff, mypy and pytest leave it.
    yard.write(".ruff_cache/.gitignore", "*\n");
    yard.write(".ruff_cache/0/blob", "cached");
    assert_eq!(
        told(&before.changes().unwrap()),
        [
            "forced.pyc=made",
            "keep.pyc=made",
            "sub/build/out.txt=made",
            "x.log=made"
        ]
    );
}

#[test]
fn what_setup_had_made_is_nobodys_business() {
    let yard = Yard(tempfile::tempdir().unwrap());
    for (path, text) in [
        ("a", "1"),
        ("venv/lib.py", "1"),
        ("notes", "1"),
        ("pkg/b", "1"),
    ] {
        yard.write(path, text);
    }
    std::fs::remove_file(yard.at("pkg/b")).unwrap();
    let tracked = ["a", "pkg/b", "pkg/c"].map(str::to_owned).into();
    let before = yard.look(tracked);
    for path in ["venv/lib.py", "venv/cache/x.pyc", "notes", "pkg/c"] {
        yard.write(path, "2");
    }
    assert_eq!(told(&before.changes().unwrap()), ["pkg/c=2"]);
}

#[test]
fn a_directory_may_take_the_place_of_a_file_and_a_file_that_of_a_directory() {
    let (yard, before) = Yard::with(&[("a", "1"), ("sub/b", "1")]);
    std::fs::remove_file(yard.at("a")).unwrap();
    yard.write("a/inner", "2");
    std::fs::remove_dir_all(yard.at("sub")).unwrap();
    yard.write("sub", "3");
    assert_eq!(
        told(&before.changes().unwrap()),
        ["a gone", "a/inner=2", "sub=3", "sub/b gone"]
    );
}

#[test]
fn links_are_told_and_not_followed() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "secret").unwrap();
    let refused = |plant: &dyn Fn(&Yard)| {
        let (yard, before) = Yard::with(&[("a", "1"), ("sub/b", "1")]);
        plant(&yard);
        before.changes().expect_err("a link").to_string()
    };
    let instead = |yard: &Yard| {
        std::fs::remove_file(yard.at("a")).unwrap();
        symlink(secret.path(), yard.at("a")).unwrap();
    };
    let why = "it is a symbolic link; only regular files can be changed";
    assert_eq!(refused(&instead), format!("a: {why}"));
    let beside = |yard: &Yard| symlink("/etc", yard.at("etc")).unwrap();
    assert_eq!(refused(&beside), format!("etc: {why}"));
    let for_a_directory = |yard: &Yard| {
        std::fs::remove_dir_all(yard.at("sub")).unwrap();
        symlink("/etc", yard.at("sub")).unwrap();
    };
    assert_eq!(refused(&for_a_directory), format!("sub: {why}"));
}

#[test]
fn a_path_through_a_link_is_not_read() {
    let (yard, _) = Yard::with(&[("sub/b", "1")]);
    symlink("sub", yard.at("way")).unwrap();
    assert!(open_beneath(yard.0.path(), "sub/b").is_ok());
    assert!(open_beneath(yard.0.path(), "way/b").is_err());
    assert!(open_beneath(yard.0.path(), "way").is_err());
}

#[test]
fn a_pipe_makes_nobody_wait() {
    let (yard, before) = Yard::with(&[("a", "1")]);
    std::fs::remove_file(yard.at("a")).unwrap();
    for path in ["a", "unseen"] {
        let made = Command::new("mkfifo").arg(yard.at(path)).status();
        assert!(made.unwrap().success());
    }
    assert_eq!(
        before.changes().expect_err("a pipe").to_string(),
        "a: it is no regular file; only regular files can be changed"
    );
}

#[test]
fn too_much_is_told_and_not_read() {
    let (yard, before) = Yard::with(&[("a", "1")]);
    let file = File::create(yard.at("huge")).unwrap();
    file.set_len(50 << 20).unwrap();
    assert_eq!(
        before.changes().expect_err("too large").to_string(),
        "huge has more than 8388608 bytes; what a tool changes must be readable as a patch"
    );
    std::fs::remove_file(yard.at("huge")).unwrap();
    let deep = format!("{}end", "d/".repeat(150));
    yard.write(&deep, "1");
    assert_eq!(
        before.changes().expect_err("too deep").to_string(),
        "directories stand more than 100 deep; what a tool changes must be readable as a patch"
    );
}

#[test]
fn a_tree_that_was_emptied_is_a_tree_of_removals() {
    let (yard, before) = Yard::with(&[("a", "1"), ("sub/b", "1"), (".gitignore", "*")]);
    for entry in std::fs::read_dir(yard.0.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
    }
    assert_eq!(
        told(&before.changes().unwrap()),
        [".gitignore gone", "a gone", "sub/b gone"]
    );
}
