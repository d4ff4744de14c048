//! Which host works on which project.
//!
//! Touches: nothing.
//! Change here: when projects should be shared out otherwise.
//!
//! Each project has a favourite among the hosts that are alive and able: the same one on every host that knows the same
//! hosts, without anybody asking anybody. When a host comes or goes only its own share moves.

use sha2::{Digest, Sha256};

/// A host that gave a sign of life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    pub name: String,
    pub labels: Vec<String>,
    /// It takes nothing new.
    pub leaving: bool,
}

/// What a project asks of a host.
#[derive(Clone, Copy, Debug)]
pub struct Wants<'a> {
    pub project: &'a str,
    /// By name; any where there is none.
    pub hosts: &'a [String],
    pub labels: &'a [String],
}

/// Who has a project, as this host sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held<'a> {
    /// Nobody, or somebody who gave it back or has not been heard of for too long.
    Free,
    By(&'a str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Leave,
    Claim,
    Keep,
    /// As soon as nothing is under way.
    GiveBack,
}

impl Wants<'_> {
    pub fn fits(&self, host: &Host) -> bool {
        let named = self.hosts.is_empty() || self.hosts.contains(&host.name);
        named && self.labels.iter().all(|label| host.labels.contains(label))
    }

    /// No other host may ever work on it.
    pub fn is_only_for(&self, host: &str) -> bool {
        self.hosts == [host]
    }

    /// Of those that are able, the one every host would name.
    fn favourite<'h>(&self, hosts: &'h [Host]) -> Option<&'h Host> {
        let able = hosts.iter().filter(|host| !host.leaving && self.fits(host));
        able.max_by_key(|host| weight(&host.name, self.project))
    }
}

/// What this host does about a project now. `hosts` are those that are alive, this one among them.
pub fn step(me: &str, wants: Wants<'_>, hosts: &[Host], held: Held<'_>) -> Step {
    let favourite = wants.favourite(hosts).map(|host| host.name.as_str());
    match held {
        Held::Free if favourite == Some(me) => Step::Claim,
        Held::Free => Step::Leave,
        Held::By(holder) if holder == me => match favourite {
            // Nobody is able to take it: somebody has to finish what is open.
            None => Step::Keep,
            Some(other) if other != me => Step::GiveBack,
            Some(_) => Step::Keep,
        },
        Held::By(_) => Step::Leave,
    }
}

fn weight(host: &str, project: &str) -> [u8; 32] {
    Sha256::digest(format!("{host}\0{project}")).into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn hosts(names: &[&str]) -> Vec<Host> {
        let host = |name: &&str| Host {
            name: (*name).to_owned(),
            labels: vec![],
            leaving: false,
        };
        names.iter().map(host).collect()
    }

    fn wants(project: &str) -> Wants<'_> {
        Wants {
            project,
            hosts: &[],
            labels: &[],
        }
    }

    fn shares(hosts: &[Host]) -> BTreeMap<String, String> {
        let projects = (0..300).map(|n| format!("p{n}"));
        let owner = |p: String| {
            let favourite = wants(&p).favourite(hosts).expect("somebody is able");
            (p.clone(), favourite.name.clone())
        };
        projects.map(owner).collect()
    }

    #[test]
    fn projects_are_shared_out_about_evenly_and_a_host_that_goes_moves_only_its_own() {
        let three = shares(&hosts(&["a", "b", "c"]));
        for host in ["a", "b", "c"] {
            let share = three.values().filter(|h| *h == host).count();
            assert!((70..=130).contains(&share), "{host} has {share}");
        }
        let two = shares(&hosts(&["a", "c"]));
        for (project, owner) in &three {
            assert!(owner == "b" || two[project] == *owner, "{project} moved");
        }
    }

    #[test]
    fn exactly_one_host_claims_what_is_free() {
        let all = hosts(&["a", "b", "c"]);
        for n in 0..50 {
            let project = format!("p{n}");
            let claims =
                |me: &&Host| step(&me.name, wants(&project), &all, Held::Free) == Step::Claim;
            assert_eq!(all.iter().filter(claims).count(), 1, "{project}");
        }
    }

    #[test]
    fn who_is_leaving_gives_back_what_another_can_take_and_keeps_what_none_can() {
        let mut two = hosts(&["a", "b"]);
        two[0].leaving = true;
        assert_eq!(step("a", wants("p"), &two, Held::By("a")), Step::GiveBack);
        assert_eq!(step("a", wants("p"), &two[..1], Held::By("a")), Step::Keep);
        assert_eq!(step("b", wants("p"), &two, Held::By("a")), Step::Leave);
        assert_eq!(step("b", wants("p"), &two, Held::Free), Step::Claim);
    }

    #[test]
    fn names_and_labels_say_who_is_able() {
        let mut two = hosts(&["a", "b"]);
        two[1].labels = vec!["gpu".into()];
        let (named, labels) = (["a".to_owned()], ["gpu".to_owned()]);
        let by_name = Wants {
            hosts: &named,
            ..wants("p")
        };
        let by_label = Wants {
            labels: &labels,
            ..wants("p")
        };
        assert_eq!(step("a", by_name, &two, Held::Free), Step::Claim);
        assert_eq!(step("b", by_name, &two, Held::Free), Step::Leave);
        assert_eq!(step("a", by_label, &two, Held::Free), Step::Leave);
        assert_eq!(step("b", by_label, &two, Held::Free), Step::Claim);
        assert!(by_name.is_only_for("a") && !by_name.is_only_for("b"));
    }
}
