//! Requests to the model, and its answers.
//!
//! Touches: wasm.
//! Change here: when a request gets another knob or an answer tells something new.

use std::sync::Arc;

use wasmtime::component::Resource;

use super::super::bindings::host::changebus::host::llm;
use super::super::convert::{self, Refused};
use super::super::limits::cut;
use super::{Capability, OVERHEAD, State, at_home, needs};
use crate::event::{Fault, FaultKind, ModelAnswer, ModelMessage, ModelRequest, SystemBlock};

/// A request under construction.
pub struct PromptDraft {
    request: ModelRequest,
    bytes: usize,
}

impl State {
    fn extend(
        &mut self,
        handle: &Resource<PromptDraft>,
        bytes: usize,
    ) -> wasmtime::Result<&mut ModelRequest> {
        self.account.call()?;
        self.account.hold(bytes + OVERHEAD)?;
        let draft = self.table.get_mut(handle)?;
        draft.bytes += bytes + OVERHEAD;
        Ok(&mut draft.request)
    }
}

impl llm::Host for State {}

impl llm::HostPrompt for State {
    fn new(&mut self, max_output_tokens: u32) -> wasmtime::Result<Resource<PromptDraft>> {
        self.account.call()?;
        let request = ModelRequest {
            model: None,
            max_output_tokens,
            system: Vec::new(),
            messages: Vec::new(),
            effort: None,
            temperature: None,
        };
        Ok(self.table.push(PromptDraft { request, bytes: 0 })?)
    }

    fn system(
        &mut self,
        prompt: Resource<PromptDraft>,
        text: String,
        shared: bool,
    ) -> wasmtime::Result<()> {
        let request = self.extend(&prompt, text.len())?;
        request.system.push(SystemBlock { text, shared });
        Ok(())
    }

    fn message(
        &mut self,
        prompt: Resource<PromptDraft>,
        role: llm::Role,
        text: String,
    ) -> wasmtime::Result<()> {
        let role = convert::role(role);
        let request = self.extend(&prompt, text.len())?;
        request.messages.push(ModelMessage { role, text });
        Ok(())
    }

    fn set_option(
        &mut self,
        prompt: Resource<PromptDraft>,
        key: String,
        value_json: String,
    ) -> Result<(), Refused> {
        let request = self.extend(&prompt, 0)?;
        Ok(set_option(request, &key, &value_json)?)
    }

    async fn send(
        &mut self,
        prompt: Resource<PromptDraft>,
    ) -> Result<Resource<ModelAnswer>, Refused> {
        let request = self.table.get(&prompt)?.request.clone();
        let import = needs(Capability::Llm, "llm.send");
        let answer: Result<ModelAnswer, Refused> = self
            .ask(import, request.clone(), |state| {
                let services = Arc::clone(&state.task()?.services);
                let account = state.account.clone();
                let asked = at_home(state.home()?.clone(), async move {
                    services.complete(request).await
                });
                Ok(async move {
                    let answer = asked.await?;
                    account.asked_the_model(&answer);
                    Ok(answer)
                })
            })
            .await;
        Ok(self.table.push(answer?)?)
    }

    fn drop(&mut self, prompt: Resource<PromptDraft>) -> wasmtime::Result<()> {
        let draft = self.table.delete(prompt)?;
        self.account.release(draft.bytes);
        Ok(())
    }
}

fn set_option(request: &mut ModelRequest, key: &str, value_json: &str) -> Result<(), Fault> {
    match key {
        "model" => request.model = Some(text_option(key, value_json)?),
        "effort" => request.effort = Some(text_option(key, value_json)?),
        "temperature" => request.temperature = Some(option_value(key, value_json, "a number")?),
        _ => {
            let message = format!(
                "there is no option `{}`; there are `model`, `effort`, `temperature`",
                cut(key, 100)
            );
            return Err(Fault::new(
                FaultKind::Invalid,
                "llm.unknown-option",
                message,
            ));
        }
    }
    Ok(())
}

fn text_option(key: &str, value_json: &str) -> Result<String, Fault> {
    let text: String = option_value(key, value_json, "a text in quotes")?;
    Ok(cut(&text, 200).to_owned())
}

fn option_value<T: serde::de::DeserializeOwned>(
    key: &str,
    value_json: &str,
    wanted: &str,
) -> Result<T, Fault> {
    serde_json::from_str(value_json).map_err(|_| {
        let message = format!(
            "option `{key}` takes {wanted} as JSON, not `{}`",
            cut(value_json, 100)
        );
        Fault::new(FaultKind::Invalid, "llm.bad-option", message)
    })
}

impl llm::HostCompletion for State {
    fn text(&mut self, completion: Resource<ModelAnswer>) -> wasmtime::Result<String> {
        self.look(|state| Ok(state.table.get(&completion)?.text.clone()))
    }

    fn stop_reason(&mut self, completion: Resource<ModelAnswer>) -> wasmtime::Result<String> {
        self.look(|state| Ok(state.table.get(&completion)?.stop_reason.clone()))
    }

    fn model(&mut self, completion: Resource<ModelAnswer>) -> wasmtime::Result<String> {
        self.look(|state| Ok(state.table.get(&completion)?.model.clone()))
    }

    fn usage(
        &mut self,
        completion: Resource<ModelAnswer>,
        meter: String,
    ) -> wasmtime::Result<Option<u64>> {
        self.look(|state| {
            let usage = &state.table.get(&completion)?.usage;
            Ok(match meter.as_str() {
                "input-tokens" => Some(usage.input_tokens),
                "output-tokens" => Some(usage.output_tokens),
                "cache-read-tokens" => Some(usage.cache_read_tokens),
                "cache-write-tokens" => Some(usage.cache_write_tokens),
                "usd-micros" => Some((usage.cost_usd * 1e6).round() as u64),
                _ => None,
            })
        })
    }

    fn drop(&mut self, completion: Resource<ModelAnswer>) -> wasmtime::Result<()> {
        self.table.delete(completion)?;
        Ok(())
    }
}
