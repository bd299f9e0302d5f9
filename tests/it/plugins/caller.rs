//! `test.Caller`: asks others, or itself, on behalf of its own caller.

use std::sync::Arc;

use a2e_core::codec::RawJson;
use a2e_core::plugin::{Answer, Handlers, Host, Plugin};
use a2e_core::request::Call;
use a2e_core::{Error, Result, message, register_plugin};
use serde::{Deserialize, Serialize};

use super::echo;

#[derive(Debug, Deserialize)]
struct Ask {
    /// `plugin NAME`, `capability NAME`; else the plugins that handle it.
    #[serde(default)]
    to: String,
    wire_type: String,
    body: serde_json::Value,
}
message!(Ask, "caller/ask/req" => Asked, First);

#[derive(Debug, Serialize, Deserialize)]
struct Recurse {
    /// How many more requests lead on from here.
    depth: u32,
    /// Ask the pool's echo at the end of it.
    #[serde(default)]
    echo: bool,
}
message!(Recurse, "caller/recurse/req" => Asked, First);

#[derive(Debug, Serialize, Deserialize)]
struct Asked {
    #[serde(default)]
    reply: Option<RawJson>,
    #[serde(default)]
    depth: u32,
}
message!(Asked, "caller/resp");

#[derive(Debug, Deserialize)]
struct Nothing {}

struct Caller;

impl Caller {
    async fn ask(self: Arc<Self>, request: Ask, call: Call) -> Answer<Asked> {
        let (wire_type, body) = (request.wire_type.as_str(), &request.body);
        let reply = match request.to.split_once(' ') {
            Some(("plugin", name)) => call.to_plugin(name).request_raw(wire_type, body).await?,
            Some(("capability", name)) => {
                call.to_capability(name).request_raw(wire_type, body).await?
            }
            _ => return Err(Error::runtime("whom?")),
        };
        Ok(Asked { reply: Some(reply), depth: 0 }.into())
    }

    async fn recurse(self: Arc<Self>, request: Recurse, call: Call) -> Answer<Asked> {
        if request.depth == 0 {
            if request.echo {
                let text = echo::Text { text: "deep".into(), data: None };
                let echoed = call.request(&echo::Pool(text)).await?;
                let reply = RawJson::of(&echoed.text);
                let reply = reply.map_err(|error| Error::internal(error.to_string()))?;
                return Ok(Asked { reply: Some(reply), depth: 0 }.into());
            }
            return Ok(Asked { reply: None, depth: 0 }.into());
        }
        let next = Recurse { depth: request.depth - 1, echo: request.echo };
        let asked = call.request(&next).await?;
        Ok(Asked { reply: asked.reply, depth: asked.depth + 1 }.into())
    }
}

impl Plugin for Caller {
    fn handlers(on: &mut Handlers<Self>) {
        on.future(Caller::ask);
        on.future(Caller::recurse);
    }
}

fn build(_: Nothing, _: &Host) -> Result<Caller> {
    Ok(Caller)
}

register_plugin!(Caller, cls = "test.Caller", capability = "test", config = Nothing, build = build);
