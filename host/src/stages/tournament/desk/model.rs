//! A completion: weighed against the budgets, announced before it is asked for, paid for once.
//!
//! Touches: http, clock.
//! Change here: when a request should be weighed or cleaned otherwise.

use std::sync::atomic::Ordering;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Desk;
use crate::event::{Fact, Fault, FaultKind, FaultUsage, ModelAnswer, ModelRequest};
use crate::failpoint;
use crate::outside::claude::Ceiling;
use crate::rules::budget::{self, Accounts, Amount};
use crate::rules::run::usage_of;
use crate::stages::{StageError, failed};

impl Desk {
    /// One that was asked before a restart and never answered may have been paid for, so it is not asked again.
    pub(super) async fn ask(&self, request: ModelRequest) -> Result<ModelAnswer, Fault> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let key = (self.variant.clone(), call);
        let request = self.cleaned(request);
        let asked = self.run.journal.asked.get(&key);
        if asked.is_some_and(|asked| *asked != request) {
            return Err(self.diverged("asked"));
        }
        let anew = async {
            match asked {
                Some(_) => Ok(Err(lost(self.dearest(&request)))),
                None => self.ask_anew(call, &request).await,
            }
        };
        let kept = self.run.journal.answered.get(&key);
        let answer = self.once(kept, anew, |answer| Fact::ModelAnswered {
            variant: self.variant.clone(),
            call,
            answer,
        });
        let answer = answer.await;
        self.spent
            .fetch_add((usage_of(&answer).cost_usd * 1e6) as u64, Ordering::SeqCst);
        answer
    }

    /// Ends in good time by itself: the client bounds connecting, silence and the whole, and its tries.
    async fn ask_anew(
        &self,
        call: u32,
        request: &ModelRequest,
    ) -> Result<Result<ModelAnswer, Fault>, StageError> {
        if let Err(denied) = self.within_budget(call, request).await? {
            return Ok(Err(denied));
        }
        failpoint::reach("before-model-call");
        let answer = self.cx.house.claude.complete(request).await;
        failpoint::reach("after-model-call");
        Ok(answer.map(|answer| self.cleaned_answer(answer)))
    }

    /// Weighs the dearest this call can become against what is left, and states the intent, as one step:
    /// two variants never spend the same money.
    async fn within_budget(
        &self,
        call: u32,
        request: &ModelRequest,
    ) -> Result<Result<(), Fault>, StageError> {
        let ceiling = match self.cx.house.claude.ceiling(request) {
            Ok(ceiling) => amount(ceiling),
            Err(refused) => return Ok(Err(refused)),
        };
        let _one_at_a_time = self.cx.house.budget.lock().await;
        let accounts = self.accounts().await?;
        let may = budget::may_spend(&self.cx.house.settings.claude, &accounts, ceiling);
        if may.is_ok() {
            let asked = Fact::ModelAsked {
                variant: self.variant.clone(),
                call,
                request: request.clone(),
            };
            self.cx.recorder.record(asked).await?;
        }
        Ok(may)
    }

    async fn accounts(&self) -> Result<Accounts, StageError> {
        let today = budget::day(Timestamp::now());
        let midnight = today
            .to_zoned(TimeZone::UTC)
            .map_err(|e| failed("reckoning the day", &e))?
            .timestamp();
        let events = self
            .cx
            .house
            .store
            .model_events(&self.run.id, midnight)
            .await;
        let events = events.map_err(|e| failed("adding up what was spent", &e))?;
        let ceiling = |request: &ModelRequest| self.dearest(request);
        Ok(budget::accounts(&events, &self.run.id, today, ceiling))
    }

    fn dearest(&self, request: &ModelRequest) -> Amount {
        let ceiling = self.cx.house.claude.ceiling(request);
        ceiling.map(amount).unwrap_or_default()
    }

    fn cleaned(&self, mut request: ModelRequest) -> ModelRequest {
        let clean = |text: &mut String| *text = self.cx.house.redactor.clean(text);
        request.system.iter_mut().for_each(|b| clean(&mut b.text));
        request.messages.iter_mut().for_each(|m| clean(&mut m.text));
        request
    }

    fn cleaned_answer(&self, mut answer: ModelAnswer) -> ModelAnswer {
        answer.text = self.cx.house.redactor.clean(&answer.text);
        answer
    }
}

fn amount(ceiling: Ceiling) -> Amount {
    Amount {
        tokens: ceiling.tokens,
        usd: ceiling.usd,
    }
}

/// It may have been paid for, so it counts as if it had been the dearest answer possible.
fn lost(ceiling: Amount) -> Fault {
    let why = "the host stopped before the answer was kept; asking again might pay twice";
    let usage = FaultUsage {
        input_tokens: ceiling.tokens,
        output_tokens: 0,
        usd_micros: (ceiling.usd * 1e6) as u64,
    };
    Fault {
        usage: Some(usage),
        ..Fault::new(FaultKind::Unavailable, "llm.answer-lost", why)
    }
}
