//! `test.Echo`: the same answer through every door.

use std::sync::Arc;

use a2e_core::codec::{Body, Incoming, RawJson, decode};
use a2e_core::plugin::{Answer, Handlers, Host, Outcome, Plugin, RawReply, Run, TypeSpec};
use a2e_core::request::Call;
use a2e_core::{Result, message, register_plugin};
use serde::{Deserialize, Serialize};

/// Every type that `test.Echo` answers.
pub(crate) const TYPES: [&str; 10] = [
    "echo/inline/req",
    "echo/pool/req",
    "echo/blocking/req",
    "echo/future/req",
    "echo/dynamic/req",
    "echo/dynamic_pool/req",
    "echo/dynamic_future/req",
    "echo/later_pool/req",
    "echo/later_blocking/req",
    "echo/later_future/req",
];

/// The body of every echo request, less its wire type.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Text {
    #[serde(default)]
    pub(crate) text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<RawJson>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Echoed {
    pub(crate) text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<RawJson>,
}
message!(Echoed, "echo/resp");

macro_rules! requests {
    ($($name:ident = $wire:literal),*) => {$(
        #[derive(Debug, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub(crate) struct $name(pub(crate) Text);
        message!($name, $wire => Echoed, First; subject "text", "data.path");
    )*};
}
requests!(
    Inline = "echo/inline/req",
    Pool = "echo/pool/req",
    Blocking = "echo/blocking/req",
    Future = "echo/future/req",
    LaterPool = "echo/later_pool/req",
    LaterBlocking = "echo/later_blocking/req",
    LaterFuture = "echo/later_future/req"
);

#[derive(Debug, Deserialize)]
struct Wrap {
    data: RawJson,
}
message!(Wrap, "echo/wrap/req" => Wrapped, First);

#[derive(Debug, Serialize)]
struct Wrapped {
    /// Two levels more than the request had.
    data: [[RawJson; 1]; 1],
}
message!(Wrapped, "echo/wrap/resp");

#[derive(Debug, Deserialize)]
struct Nothing {}

struct Echo;

fn echoed(text: Text) -> Echoed {
    Echoed { text: text.text, data: text.data }
}

fn raw(incoming: Incoming<'_>) -> Answer<RawReply> {
    Ok(RawReply::new("echo/resp", &echoed(decode(incoming)?))?.into())
}

impl Echo {
    fn inline(&self, it: Inline, _: &Call) -> Answer<Echoed> {
        Ok(echoed(it.0).into())
    }

    fn pool(&self, it: Pool, _: &Call) -> Answer<Echoed> {
        Ok(echoed(it.0).into())
    }

    fn blocking(&self, it: Blocking, _: &Call) -> Answer<Echoed> {
        Ok(echoed(it.0).into())
    }

    async fn future(self: Arc<Self>, it: Future, _: Call) -> Answer<Echoed> {
        tokio::task::yield_now().await;
        Ok(echoed(it.0).into())
    }

    fn wrap(&self, it: Wrap, _: &Call) -> Answer<Wrapped> {
        Ok(Wrapped { data: [[it.data]] }.into())
    }

    fn later_pool(&self, it: LaterPool, _: &Call) -> Answer<Echoed> {
        Ok(Outcome::on_pool(move |_| Ok(echoed(it.0).into())))
    }

    fn later_blocking(&self, it: LaterBlocking, _: &Call) -> Answer<Echoed> {
        Ok(Outcome::on_blocking(move |_| Ok(echoed(it.0).into())))
    }

    fn later_future(&self, it: LaterFuture, _: &Call) -> Answer<Echoed> {
        Ok(Outcome::on_future(async move { Ok(echoed(it.0).into()) }))
    }
}

fn spec(wire_type: &'static str) -> TypeSpec {
    TypeSpec::request(wire_type, "echo/resp").with_subject(["text", "data.path"])
}

impl Plugin for Echo {
    fn handlers(on: &mut Handlers<Self>) {
        on.inline(Echo::inline);
        on.pool(Echo::pool);
        on.blocking(Echo::blocking);
        on.future(Echo::future);
        on.inline(Echo::wrap);
        on.inline(Echo::later_pool);
        on.inline(Echo::later_blocking);
        on.inline(Echo::later_future);
        on.dynamic(spec("echo/dynamic/req"), Run::Inline, |_, incoming, _| raw(incoming));
        on.dynamic(spec("echo/dynamic_pool/req"), Run::Pool, |_, incoming, _| raw(incoming));
        on.dynamic_future(spec("echo/dynamic_future/req"), |_, body: Body, _| async move {
            raw(body.as_incoming())
        });
    }
}

fn build(_: Nothing, _: &Host) -> Result<Echo> {
    Ok(Echo)
}

register_plugin!(
    Echo,
    cls = "test.Echo",
    capability = "test",
    config = Nothing,
    build = build,
    aliases = &["old.path.EchoPlugin"]
);
