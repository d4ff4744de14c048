//! Which type a fact has for the world: one of the CDEvents vocabulary where that means the same, else one of our own.
//!
//! Touches: nothing.
//! Change here: when a fact is added, or told as another type. Raise a type's version when a reader of the old one could
//! go wrong with the new one. Why a fact has the type it has: `docs/decisions/0014-envelope.md`.

use crate::event::{Delivery, Fact};

/// A type of message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    TestSuiteRunFinished,
    ChangeCreated,
    ChangeMerged,
    TicketCreated,
    BranchWatched,
    DependenciesSeen,
    ChangeSeen,
    FailureTriaged,
    FailureBisected,
    TournamentOpened,
    ModelAsked,
    ModelAnswered,
    ProbeFinished,
    ToolFinished,
    PluginCalled,
    FixProposed,
    FixRefused,
    TrialFinished,
    SampleFinished,
    TournamentScored,
    TournamentBounded,
    TournamentAdvised,
    TournamentDecided,
    MergePrepared,
    MergeOvertaken,
    DeliveryMoot,
    DeliveryWithheld,
    ApplicationSaid,
    RunAsked,
    AlertRaised,
    DigestNoted,
    DigestMade,
    NoticeSent,
    ReviewGiven,
    TaskPosted,
    TaskEnded,
    PullRequestOpened,
    PullRequestEnded,
    OutcomeObserved,
    RunReviewed,
    StageFailed,
    RunClosed,
}

/// Which facts have a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carries {
    /// The fact's own `type`.
    pub fact: &'static str,
    /// Only those that were delivered so.
    pub how: Option<&'static str>,
}

impl Kind {
    pub const ALL: [Kind; 42] = [
        Kind::TestSuiteRunFinished,
        Kind::ChangeCreated,
        Kind::ChangeMerged,
        Kind::TicketCreated,
        Kind::BranchWatched,
        Kind::DependenciesSeen,
        Kind::ChangeSeen,
        Kind::FailureTriaged,
        Kind::FailureBisected,
        Kind::TournamentOpened,
        Kind::ModelAsked,
        Kind::ModelAnswered,
        Kind::ProbeFinished,
        Kind::ToolFinished,
        Kind::PluginCalled,
        Kind::FixProposed,
        Kind::FixRefused,
        Kind::TrialFinished,
        Kind::SampleFinished,
        Kind::TournamentScored,
        Kind::TournamentBounded,
        Kind::TournamentAdvised,
        Kind::TournamentDecided,
        Kind::MergePrepared,
        Kind::MergeOvertaken,
        Kind::DeliveryMoot,
        Kind::DeliveryWithheld,
        Kind::ApplicationSaid,
        Kind::RunAsked,
        Kind::AlertRaised,
        Kind::DigestNoted,
        Kind::DigestMade,
        Kind::NoticeSent,
        Kind::ReviewGiven,
        Kind::TaskPosted,
        Kind::TaskEnded,
        Kind::PullRequestOpened,
        Kind::PullRequestEnded,
        Kind::OutcomeObserved,
        Kind::RunReviewed,
        Kind::StageFailed,
        Kind::RunClosed,
    ];

    pub fn of(fact: &Fact) -> Kind {
        match fact {
            Fact::Watched { .. } => Kind::BranchWatched,
            Fact::DependenciesSeen { .. } => Kind::DependenciesSeen,
            Fact::ChangeSeen { .. } => Kind::ChangeSeen,
            Fact::Tested { .. } => Kind::TestSuiteRunFinished,
            Fact::Triaged { .. } => Kind::FailureTriaged,
            Fact::Bisected { .. } => Kind::FailureBisected,
            Fact::TournamentOpened { .. } => Kind::TournamentOpened,
            Fact::ModelAsked { .. } => Kind::ModelAsked,
            Fact::ModelAnswered { .. } => Kind::ModelAnswered,
            Fact::Probed { .. } => Kind::ProbeFinished,
            Fact::ToolRan { .. } => Kind::ToolFinished,
            Fact::PluginCalled { .. } => Kind::PluginCalled,
            Fact::Proposed { .. } => Kind::FixProposed,
            Fact::Refused { .. } => Kind::FixRefused,
            Fact::Tried { .. } => Kind::TrialFinished,
            Fact::Sampled { .. } => Kind::SampleFinished,
            Fact::Scored { .. } => Kind::TournamentScored,
            Fact::Bounded { .. } => Kind::TournamentBounded,
            Fact::Advised { .. } => Kind::TournamentAdvised,
            Fact::Decided { .. } => Kind::TournamentDecided,
            Fact::MergePrepared { .. } => Kind::MergePrepared,
            Fact::MergeOvertaken { .. } => Kind::MergeOvertaken,
            Fact::Delivered { delivery } => match delivery {
                Delivery::Merged { .. } => Kind::ChangeMerged,
                Delivery::Proposed { .. } => Kind::ChangeCreated,
                Delivery::Escalated { .. } => Kind::TicketCreated,
                Delivery::Moot { .. } => Kind::DeliveryMoot,
                Delivery::Withheld { .. } => Kind::DeliveryWithheld,
            },
            Fact::AppSaid { .. } => Kind::ApplicationSaid,
            Fact::StartAsked { .. } => Kind::RunAsked,
            Fact::Alerted { .. } => Kind::AlertRaised,
            Fact::Noted { .. } => Kind::DigestNoted,
            Fact::DigestMade { .. } => Kind::DigestMade,
            Fact::NoticeSent { .. } => Kind::NoticeSent,
            Fact::ReviewGiven { .. } => Kind::ReviewGiven,
            Fact::TaskPosted { .. } => Kind::TaskPosted,
            Fact::TaskEnded { .. } => Kind::TaskEnded,
            Fact::PullRequestOpened { .. } => Kind::PullRequestOpened,
            Fact::PullRequestEnded { .. } => Kind::PullRequestEnded,
            Fact::OutcomeObserved { .. } => Kind::OutcomeObserved,
            Fact::Reviewed { .. } => Kind::RunReviewed,
            Fact::StageFailed { .. } => Kind::StageFailed,
            Fact::RunClosed { .. } => Kind::RunClosed,
        }
    }

    pub fn named(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// As it stands in `type`, with its version.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    pub fn carries(self) -> Carries {
        self.row().1
    }

    /// Ours, not one of the vocabulary.
    pub fn is_own(self) -> bool {
        self.name().starts_with("dev.cdeventsx.")
    }

    /// Name of its schema. It says where nothing can be fetched from: the schemas come with the code.
    pub fn schema_id(self) -> String {
        format!("urn:changebus:schema:{}", self.name())
    }

    /// The official schema of custom types wants exactly one dash, and letters alone behind it.
    fn row(self) -> (&'static str, Carries) {
        let of = |name, fact| (name, Carries { fact, how: None });
        let delivered = |name, how| {
            let fact = "delivered";
            (
                name,
                Carries {
                    fact,
                    how: Some(how),
                },
            )
        };
        match self {
            Kind::TestSuiteRunFinished => of("dev.cdevents.testsuiterun.finished.0.3.0", "tested"),
            Kind::ChangeCreated => delivered("dev.cdevents.change.created.0.4.0", "proposed"),
            Kind::ChangeMerged => delivered("dev.cdevents.change.merged.0.3.0", "merged"),
            Kind::TicketCreated => delivered("dev.cdevents.ticket.created.0.2.0", "escalated"),
            Kind::BranchWatched => of("dev.cdeventsx.changebus-branch.watched.0.1.0", "watched"),
            Kind::DependenciesSeen => of(
                "dev.cdeventsx.changebus-dependencies.seen.0.1.0",
                "dependencies-seen",
            ),
            Kind::ChangeSeen => of("dev.cdeventsx.changebus-change.seen.0.1.0", "change-seen"),
            Kind::FailureTriaged => of("dev.cdeventsx.changebus-failure.triaged.0.1.0", "triaged"),
            Kind::FailureBisected => {
                of("dev.cdeventsx.changebus-failure.bisected.0.1.0", "bisected")
            }
            Kind::TournamentOpened => of(
                "dev.cdeventsx.changebus-tournament.opened.0.1.0",
                "tournament-opened",
            ),
            Kind::ModelAsked => of("dev.cdeventsx.changebus-model.asked.0.1.0", "model-asked"),
            Kind::ModelAnswered => of(
                "dev.cdeventsx.changebus-model.answered.0.1.0",
                "model-answered",
            ),
            Kind::ProbeFinished => of("dev.cdeventsx.changebus-probe.finished.0.1.0", "probed"),
            Kind::ToolFinished => of("dev.cdeventsx.changebus-tool.finished.0.1.0", "tool-ran"),
            Kind::PluginCalled => of(
                "dev.cdeventsx.changebus-plugin.called.0.1.0",
                "plugin-called",
            ),
            Kind::FixProposed => of("dev.cdeventsx.changebus-fix.proposed.0.1.0", "proposed"),
            Kind::FixRefused => of("dev.cdeventsx.changebus-fix.refused.0.1.0", "refused"),
            Kind::TrialFinished => of("dev.cdeventsx.changebus-trial.finished.0.1.0", "tried"),
            Kind::SampleFinished => of("dev.cdeventsx.changebus-sample.finished.0.1.0", "sampled"),
            Kind::TournamentScored => {
                of("dev.cdeventsx.changebus-tournament.scored.0.1.0", "scored")
            }
            Kind::TournamentBounded => of(
                "dev.cdeventsx.changebus-tournament.bounded.0.1.0",
                "bounded",
            ),
            Kind::TournamentAdvised => of(
                "dev.cdeventsx.changebus-tournament.advised.0.1.0",
                "advised",
            ),
            Kind::TournamentDecided => of(
                "dev.cdeventsx.changebus-tournament.decided.0.1.0",
                "decided",
            ),
            Kind::MergePrepared => of(
                "dev.cdeventsx.changebus-merge.prepared.0.1.0",
                "merge-prepared",
            ),
            Kind::MergeOvertaken => of(
                "dev.cdeventsx.changebus-merge.overtaken.0.1.0",
                "merge-overtaken",
            ),
            Kind::DeliveryMoot => delivered("dev.cdeventsx.changebus-delivery.moot.0.1.0", "moot"),
            Kind::DeliveryWithheld => delivered(
                "dev.cdeventsx.changebus-delivery.withheld.0.1.0",
                "withheld",
            ),
            Kind::ApplicationSaid => {
                of("dev.cdeventsx.changebus-application.said.0.1.0", "app-said")
            }
            Kind::RunAsked => of("dev.cdeventsx.changebus-run.asked.0.1.0", "start-asked"),
            Kind::AlertRaised => of("dev.cdeventsx.changebus-alert.raised.0.1.0", "alerted"),
            Kind::DigestNoted => of("dev.cdeventsx.changebus-digest.noted.0.1.0", "noted"),
            Kind::DigestMade => of("dev.cdeventsx.changebus-digest.made.0.1.0", "digest-made"),
            Kind::NoticeSent => of("dev.cdeventsx.changebus-notice.sent.0.1.0", "notice-sent"),
            Kind::ReviewGiven => of("dev.cdeventsx.changebus-review.given.0.1.0", "review-given"),
            Kind::TaskPosted => of("dev.cdeventsx.changebus-task.posted.0.1.0", "task-posted"),
            Kind::TaskEnded => of("dev.cdeventsx.changebus-task.ended.0.1.0", "task-ended"),
            Kind::PullRequestOpened => of(
                "dev.cdeventsx.changebus-pullrequest.opened.0.1.0",
                "pull-request-opened",
            ),
            Kind::PullRequestEnded => of(
                "dev.cdeventsx.changebus-pullrequest.ended.0.1.0",
                "pull-request-ended",
            ),
            Kind::OutcomeObserved => of(
                "dev.cdeventsx.changebus-outcome.observed.0.1.0",
                "outcome-observed",
            ),
            Kind::RunReviewed => of("dev.cdeventsx.changebus-run.reviewed.0.1.0", "reviewed"),
            Kind::StageFailed => of("dev.cdeventsx.changebus-stage.failed.0.1.0", "stage-failed"),
            Kind::RunClosed => of("dev.cdeventsx.changebus-run.closed.0.1.0", "run-closed"),
        }
    }
}
