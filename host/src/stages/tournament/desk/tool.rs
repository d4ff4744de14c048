//! A tool: one of the project's commands run on a patched tree, and what it changed there.
//!
//! Touches: processes, git.
//! Change here: when what a tool did should be told otherwise. The gates judge the patch that comes of it, not this.

use super::{Desk, digest, timed_out};
use crate::event::{Exit, Fact, Fault, FaultKind, Oid, Patch, ToolReport};
use crate::outside::footprint::{Changed, Untaken};
use crate::outside::git::{NotTaken, Taken, blocking};
use crate::outside::runner::ToolError;
use crate::rules::run::tool_key;
use crate::stages::suite::{self, Missing};
use crate::stages::tournament::resolve;
use crate::stages::{StageError, failed};

/// A change beyond this is no repair; it also has to fit into a guest and into the log.
const LARGEST_PATCH: usize = 1 << 20;

impl Desk {
    pub(super) async fn use_tool(&self, tool: String, patch: Patch) -> Result<ToolReport, Fault> {
        let Some(command) = self.cx.project.tools.get(&tool) else {
            return Err(self.unknown(&tool));
        };
        let probe = self.next_probe()?;
        let key = (self.variant.clone(), probe);
        let digest = digest(&patch);
        let kept = self.run.journal.tools.get(&key);
        let is_another = kept.is_some_and(|(earlier, _)| *earlier != tool_key(&tool, &digest));
        if is_another || self.run.journal.probed.contains_key(&key) {
            return Err(self.diverged("ran as a tool"));
        }
        let kept = kept.map(|(_, kept)| kept);
        let anew = self.run_on(probe, command, &patch);
        let answer = self.once(kept, anew, |answer| Fact::ToolRan {
            variant: self.variant.clone(),
            probe,
            tool: tool.clone(),
            digest: digest.clone(),
            answer,
        });
        answer.await
    }

    fn unknown(&self, tool: &str) -> Fault {
        let known: Vec<&str> = self.cx.project.tools.keys().map(String::as_str).collect();
        let known = match known.is_empty() {
            true => "it has none".to_owned(),
            false => format!("it has {}", known.join(", ")),
        };
        let why = format!("no tool `{tool}` is configured for this project; {known}");
        Fault::new(FaultKind::NotFound, "tool.unknown", why)
    }

    async fn run_on(
        &self,
        probe: u32,
        command: &str,
        patch: &Patch,
    ) -> Result<Result<ToolReport, Fault>, StageError> {
        let onto = match resolve::tool_tree(&self.cx, &self.run, patch).await? {
            Ok(tree) => tree,
            Err(why) => return Ok(Err(Fault::new(FaultKind::Invalid, "patch.refused", why))),
        };
        let name = format!("{}-{}-tool-{probe}", self.run.id, self.variant);
        let ran = match suite::run_tool(&self.cx, &onto, command, &name).await {
            Ok(Ok(ran)) => ran,
            Ok(Err(error)) => return answer_of(error),
            Err(Missing::Hung(why)) => return Ok(Err(timed_out("tool.timeout", why))),
            Err(Missing::Host(error)) => return Err(error),
        };
        let taken = match self.taken(onto, ran.changed).await {
            Ok(taken) => taken,
            Err(NotTaken::Git(error)) => return Err(failed("reading what a tool did", &error)),
            Err(refused) => return Ok(Err(no_patch(&refused))),
        };
        let clean = |text: &str| self.cx.house.redactor.clean(text);
        Ok(Ok(ToolReport {
            exit_code: match ran.exit {
                Exit::Code(code) => Some(code),
                Exit::Signal(_) | Exit::TimedOut { .. } | Exit::NotStarted => None,
            },
            output: ran.output,
            changed: taken.changed,
            diff: clean(&taken.diff),
            seconds: ran.seconds,
        }))
    }

    async fn taken(&self, onto: Oid, changed: Changed) -> Result<Taken, NotTaken> {
        let (mirror, head) = (self.cx.mirror.clone(), self.run.change.tree.clone());
        blocking(move || mirror.taken(&head, &onto, &changed, LARGEST_PATCH)).await
    }
}

fn no_patch(refused: &NotTaken) -> Fault {
    match refused {
        NotTaken::TooLarge { .. } => {
            Fault::new(FaultKind::Budget, "tool.too-large", refused.to_string())
        }
        _ => Fault::new(FaultKind::Invalid, "tool.not-text", refused.to_string()),
    }
}

/// What the project or the tool brought about is told to the strategy; what the host could not do is not its answer.
fn answer_of(error: ToolError) -> Result<Result<ToolReport, Fault>, StageError> {
    let (kind, code) = match &error {
        ToolError::NoPlace(_) => return Err(failed("running a tool", &error)),
        ToolError::Unprepared(_) => (FaultKind::Unavailable, "tool.setup-failed"),
        ToolError::NotStarted(_) => (FaultKind::Unavailable, "tool.not-started"),
        ToolError::Untaken(Untaken::NotAFile { .. }) => (FaultKind::Invalid, "tool.not-text"),
        ToolError::Untaken(Untaken::TooLarge { .. }) => (FaultKind::Budget, "tool.too-large"),
        ToolError::Untaken(Untaken::Io { .. }) => (FaultKind::Invalid, "tool.unreadable"),
    };
    Ok(Err(Fault::new(kind, code, error.to_string())))
}
