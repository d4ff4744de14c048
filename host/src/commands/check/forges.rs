//! What `changebus check` looks at on forges: whether the token is known, whether the repositories are there, and what is
//! known of the protection of their branches.
//!
//! Touches: http (through `outside/forge`).
//! Change here: when something else has to hold there.

use super::{Finding, bad, good};
use crate::config::{Config, Home, Project};
use crate::outside::forge::{Forge, ForgeError};

pub async fn look(config: &Config) -> Vec<Finding> {
    let mut findings = vec![];
    for (name, settings) in &config.forges {
        let title = format!("forge {name}");
        let token = match settings.token.read() {
            Ok(token) => token,
            Err(error) => {
                let hint =
                    format!("put the token there, or name another place in forges.{name}.token");
                findings.push(bad(&title, &error.to_string(), &hint));
                continue;
            }
        };
        let forge = match Forge::new(settings.kind, settings.address(), token) {
            Ok(forge) => forge,
            Err(error) => {
                let hint = format!("correct forges.{name}.url");
                findings.push(bad(&title, &error.to_string(), &hint));
                continue;
            }
        };
        match forge.login().await {
            Ok(login) => {
                findings.push(good(
                    &title,
                    &format!("{} knows the token, as {login}", settings.address()),
                ));
                findings.extend(homes(config, name, &forge).await);
            }
            Err(error) => findings.push(bad(&title, &error.to_string(), hint(&error))),
        }
    }
    findings
}

async fn homes(config: &Config, name: &str, forge: &Forge) -> Vec<Finding> {
    let mut findings = vec![];
    for (project, settings) in &config.projects {
        if let Some(home) = settings.forge.as_ref().filter(|home| home.name == name) {
            findings.push(branch(project, settings, home, forge).await);
        }
    }
    findings
}

async fn branch(name: &str, project: &Project, home: &Home, forge: &Forge) -> Finding {
    let title = format!("forge of {name}");
    let place = format!("{} of {}", project.branch, home.repo);
    match forge.protection(&home.repo, &project.branch).await {
        Ok(protection) if home.auto_merge && !protection.may_push && !protection.up_to_date => bad(
            &title,
            &format!(
                "{place} is protected, and nothing shows that what is merged has to be up to date"
            ),
            "people merge: insist on up-to-date branches in its protection and let the token see it, or set auto_merge = false",
        ),
        Ok(protection) if protection.may_push => good(&title, &format!("{place} may be pushed to")),
        Ok(_) => good(
            &title,
            &format!("{place} is protected: merges become pull requests"),
        ),
        Err(error) => bad(&title, &format!("{place}: {error}"), hint(&error)),
    }
}

fn hint(error: &ForgeError) -> &'static str {
    match error {
        ForgeError::Token(_) => "make another token, and put it where forges.NAME.token says",
        ForgeError::Denied(_) => "give the token the rights that docs/forges.md lists",
        ForgeError::NotFound(_) => {
            "correct `repo` or `branch`, or let the token see the repository"
        }
        ForgeError::Busy { .. } => "ask again later",
        ForgeError::Address(_) | ForgeError::Away(_) | ForgeError::Refused { .. } => {
            "see whether the forge is there, and what forges.NAME.url says"
        }
    }
}
