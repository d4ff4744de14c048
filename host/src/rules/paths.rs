//! Tells which class a path belongs to: the judge's, protected, or security-related.
//!
//! Touches: nothing.
//! Change here: when another kind of file decides what passes, or must not be changed by a machine.

use globset::GlobSet;

use super::trigger::glob_set;
use crate::config::Policy;

/// Files that decide what passes: tests, their fixtures and configuration, CI, this tool's configuration.
const JUDGE: &[&str] = &[
    "tests/**",
    "test/**",
    "**/tests/**",
    "**/test/**",
    "**/__tests__/**",
    "**/testdata/**",
    "**/__snapshots__/**",
    "spec/**",
    "**/test_*.py",
    "**/*_test.py",
    "**/tests.py",
    "**/test.py",
    "**/conftest.py",
    "**/*_test.go",
    "**/tests.rs",
    "**/test.rs",
    "**/*_test.rs",
    "**/*_tests.rs",
    "**/*.test.{js,jsx,ts,tsx,mjs,cjs,mts,cts}",
    "**/*.spec.{js,jsx,ts,tsx,mjs,cjs,mts,cts}",
    "**/test.{js,ts,mjs,cjs}",
    "**/test-*.{js,ts,mjs,cjs}",
    "**/*_spec.rb",
    "**/*Test.java",
    "**/*Tests.java",
    "**/*.snap",
    "**/*.snap.new",
    "**/*.golden",
    "**/golden/**",
    "**/*.approved.*",
    "**/pytest.ini",
    "**/tox.ini",
    "**/noxfile.py",
    "**/setup.cfg",
    "**/.coveragerc",
    "**/sitecustomize.py",
    "**/usercustomize.py",
    "**/*.pth",
    "**/jest.config.*",
    "**/vitest.config.*",
    "**/vite.config.*",
    "**/ava.config.*",
    "**/playwright.config.*",
    "**/cypress.config.*",
    "**/.mocharc*",
    "**/karma.conf.*",
    "**/.nycrc*",
    "**/tsconfig*.json",
    "**/build.rs",
    "**/.cargo/**",
    "**/.config/nextest.toml",
    "**/rust-toolchain*",
    "Makefile",
    "**/Makefile",
    "**/justfile",
    "**/*.mk",
    ".github/**",
    ".forgejo/**",
    ".gitea/**",
    ".gitlab-ci.yml",
    ".gitlab/**",
    ".circleci/**",
    ".woodpecker/**",
    ".woodpecker.y*ml",
    "Jenkinsfile",
    "azure-pipelines.yml",
    ".changebus.toml",
    "**/.gitattributes",
    "**/.gitmodules",
    "**/.gitignore",
];

/// Files that say what a project needs: where they are the same, one setup serves.
const MANIFESTS: &[&str] = &[
    "**/package.json",
    "**/package-lock.json",
    "**/npm-shrinkwrap.json",
    "**/yarn.lock",
    "**/pnpm-lock.yaml",
    "**/pnpm-workspace.yaml",
    "**/.npmrc",
    "**/.nvmrc",
    "**/.node-version",
    "**/Cargo.toml",
    "**/Cargo.lock",
    "**/rust-toolchain*",
    "**/.cargo/config*",
    "**/pyproject.toml",
    "**/setup.py",
    "**/setup.cfg",
    "**/requirements*.txt",
    "**/requirements/**",
    "**/poetry.lock",
    "**/uv.lock",
    "**/Pipfile*",
    "**/pip.conf",
    "**/.python-version",
    "**/.tool-versions",
    "**/environment*.y*ml",
    "**/go.mod",
    "**/go.sum",
    "**/pom.xml",
    "**/*.gradle*",
    "**/Gemfile*",
    "**/composer.*",
];

/// Files whose change is a matter of trust, beside the manifests.
const SECURITY: &[&str] = &[
    "**/Dockerfile*",
    "**/docker-compose*.y*ml",
    "**/*.pem",
    "**/*.key",
    "**/*.p12",
    "**/.env*",
    "**/secrets/**",
    "**/security/**",
    "**/auth/**",
    "**/crypto/**",
    "**/*.service",
    "**/sudoers*",
    "**/CODEOWNERS",
    "**/.ssh/**",
];

/// The classes of one project's paths.
pub struct PathClasses {
    judge: GlobSet,
    protected: GlobSet,
    security: GlobSet,
    manifests: GlobSet,
}

impl PathClasses {
    pub fn of(policy: &Policy) -> PathClasses {
        let with = |built_in: &[&'static str], own: &[String]| {
            glob_set(
                built_in
                    .iter()
                    .copied()
                    .chain(own.iter().map(String::as_str)),
            )
        };
        PathClasses {
            judge: with(JUDGE, &policy.test_paths),
            protected: with(&[], &policy.protected_paths),
            security: with(&[MANIFESTS, SECURITY].concat(), &policy.security_paths),
            manifests: with(MANIFESTS, &[]),
        }
    }

    /// A test, test configuration or CI file: trials run the head's version of it.
    pub fn is_judge(&self, path: &str) -> bool {
        self.judge.is_match(path)
    }

    pub fn is_protected(&self, path: &str) -> bool {
        self.protected.is_match(path)
    }

    pub fn is_security(&self, path: &str) -> bool {
        self.security.is_match(path)
    }

    /// Says what the project needs, so that setup has to be done anew where it changes.
    pub fn is_manifest(&self, path: &str) -> bool {
        self.manifests.is_match(path)
    }

    /// Why a strategy had better leave this path alone, if so.
    pub fn protection(&self, path: &str) -> Option<String> {
        if self.is_protected(path) {
            return Some("the operator protects this path".into());
        }
        self.is_judge(path).then(|| {
            "it decides what passes: the head's version is used, and changing it needs a human"
                .into()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(path: &str) -> (bool, bool) {
        let classes = PathClasses::of(&Policy::default());
        (classes.is_judge(path), classes.is_security(path))
    }

    #[test]
    fn tests_and_what_steers_them_belong_to_the_judge() {
        for path in [
            "tests/test_a.py",
            "pkg/tests/data/x.json",
            "conftest.py",
            "a/conftest.py",
            "test_x.py",
            "src/tests.rs",
            "src/packed/tests.rs",
            "src/a.test.ts",
            "pytest.ini",
            ".github/workflows/ci.yml",
            "build.rs",
            ".cargo/config.toml",
            "Makefile",
            "test.js",
            ".gitattributes",
        ] {
            assert!(class(path).0, "{path}");
        }
    }

    #[test]
    fn sources_belong_to_nobody() {
        for path in [
            "src/lib.rs",
            "pkg/module.py",
            "index.js",
            "lib/testing.py",
            "src/contest.py",
            "README.md",
        ] {
            assert_eq!(class(path), (false, false), "{path}");
        }
    }

    #[test]
    fn manifests_locks_and_keys_are_a_matter_of_trust() {
        for path in [
            "package.json",
            "a/Cargo.lock",
            "requirements-dev.txt",
            "deploy/key.pem",
            ".env.local",
            "src/auth/login.py",
        ] {
            assert!(class(path).1, "{path}");
        }
    }
}
