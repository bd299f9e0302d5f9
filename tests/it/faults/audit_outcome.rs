//! The audit says `panic` of panics only (B11).

use a2e_core::config::PluginScope;
use a2e_core::plugin::{Answer, Handlers, Host, Plugin};
use a2e_core::request::Call;
use a2e_core::testing::TestHost;
use a2e_core::{Result, message, register_plugin};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::support::{audited, end, of, plugin, records_of, script, tuned, with};

#[derive(Debug, Deserialize)]
struct Nothing {}

#[derive(Debug, Deserialize)]
struct Stays {}
message!(Stays, "fault/stays/req" => Changed, First);

#[derive(Debug, Deserialize)]
struct Goes {}
message!(Goes, "fault/goes/req" => Changed, First);

#[derive(Debug, Serialize)]
struct Changed {}
message!(Changed, "fault/changed/resp");

/// `test.Changeling`: an instance that is built for a session declares less than the first one did.
struct Changeling {
    is_first: bool,
}

impl Changeling {
    fn stays(&self, _: Stays, _: &Call) -> Answer<Changed> {
        Ok(Changed {}.into())
    }

    fn goes(&self, _: Goes, _: &Call) -> Answer<Changed> {
        Ok(Changed {}.into())
    }
}

impl Plugin for Changeling {
    fn handlers(on: &mut Handlers<Self>) {
        on.inline(Changeling::stays);
        if on.plugin().is_first {
            on.inline(Changeling::goes);
        }
    }
}

fn build(_: Nothing, host: &Host) -> Result<Changeling> {
    // The one that declares the handlers is built before there are plugins.
    Ok(Changeling { is_first: host.plugins().is_empty() })
}

register_plugin!(
    Changeling,
    cls = "test.Changeling",
    capability = "test",
    config = Nothing,
    build = build
);

#[tokio::test(flavor = "multi_thread")]
async fn b11_the_audit_says_panic_of_panics_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.ndjson");
    let of_session = |plugin| tuned(plugin, |it| it.scope = Some(PluginScope::Session));
    let unready = plugin("unready", "Tally").with_setting("fails_in", "own start");
    let unready = unready.with_setting("how", "error");
    let config = with([
        script("s", "pool", "reply"),
        of_session(plugin("changeling", "Changeling")),
        of_session(unready),
    ]);
    let host = TestHost::start(audited(config, &path)).await;
    let mut session = host.session();
    for (kind, act, code, outcome) in [
        ("fault/stays/req", "", "", "ok"),
        ("fault/goes/req", "", "internal_error", "error"),
        ("tally/add/req", "", "unavailable", "refused"),
        ("script/first/req", "nothing", "internal_error", "error"),
        ("script/first/req", "nan", "internal_error", "error"),
        ("script/first/req", "error internal_error", "internal_error", "error"),
        ("script/first/req", "panic", "internal_error", "panic"),
    ] {
        let id = session.send(kind, json!({ "acts": { "s": act } })).await;
        let answer = session.reply_to(&id).await;
        assert_eq!(answer["code"].as_str().unwrap_or_default(), code, "{kind} {act}: {answer}");
        let record = records_of(&path, &id).pop().expect("it is audited before it is answered");
        assert_eq!(record["outcome"], outcome, "{kind} {act}: {record}");
    }
    let status = host.executor().status();
    assert_eq!((of(&status, "changeling").panics, of(&status, "s").panics), (0, 1));
    session.finish().await;
    end(host).await;
}
