//! Which paths a patch may name at all, whatever the policy.
//!
//! Touches: nothing.
//! Change here: when another way out of a tree becomes known.

const LONGEST: usize = 4096;

/// Ok for a path that stays inside the tree and away from git's own directory, on every filesystem;
/// otherwise why not.
pub fn check(path: &str) -> Result<(), &'static str> {
    if path.is_empty() {
        return Err("the path is empty");
    }
    if path.len() > LONGEST {
        return Err("the path is longer than 4096 bytes");
    }
    if path.starts_with('/') || path.starts_with('~') {
        return Err("the path is not relative to the repository");
    }
    if path.contains('\\') {
        return Err("the path holds a backslash");
    }
    if path.chars().any(char::is_control) {
        return Err("the path holds a control character");
    }
    path.split('/').try_for_each(check_component)
}

fn check_component(component: &str) -> Result<(), &'static str> {
    match component {
        "" => Err("the path has an empty part"),
        "." | ".." => Err("the path steps through `.` or `..`"),
        _ if component.len() > 255 => Err("a part of the path is longer than 255 bytes"),
        _ if is_git_directory(component) => Err("the path leads into git's own directory"),
        _ => Ok(()),
    }
}

/// `.git` as case-folding, short-name and blank-dropping filesystems may read it.
fn is_git_directory(component: &str) -> bool {
    let visible: String = component
        .chars()
        .filter(|c| !is_ignored_by_hfs(*c))
        .collect();
    let name = visible
        .split(':')
        .next()
        .unwrap_or_default()
        .trim_end_matches(['.', ' '])
        .to_lowercase();
    name == ".git" || (name.starts_with("git~") && name[4..].bytes().all(|b| b.is_ascii_digit()))
}

fn is_ignored_by_hfs(c: char) -> bool {
    matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_paths_pass() {
        for path in [
            "a",
            "src/lib.rs",
            ".github/workflows/ci.yml",
            ".gitignore",
            "a b/ü.txt",
            "x.git",
            "git~x",
            "..a",
            ".g",
        ] {
            assert_eq!(check(path), Ok(()), "{path}");
        }
    }

    #[test]
    fn every_way_out_is_closed() {
        let ways_out = [
            "",
            "/etc/passwd",
            "~/.ssh/authorized_keys",
            "../x",
            "a/../../x",
            "a/./b",
            "a//b",
            "a/",
            ".git/config",
            ".GIT/hooks/post-checkout",
            "sub/.git/config",
            "sub/.Git",
            ".git./config",
            ".git /config",
            ".git::$INDEX_ALLOCATION/config",
            "git~1/config",
            "GIT~1/config",
            ".g\u{200c}it/config",
            "..\\x",
            "a\\..\\..\\x",
            "C:\\x",
            "a\0b",
            "a\nb",
            "a\u{1b}[0mb",
        ];
        for path in ways_out {
            assert!(check(path).is_err(), "{path:?}");
        }
        assert!(check(&"a/".repeat(3000)).is_err() && check(&"a".repeat(300)).is_err());
    }
}
