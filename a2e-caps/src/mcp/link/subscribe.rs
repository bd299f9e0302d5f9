//! Changes of lists and resources, as either era tells them. What comes is heard by the tap.

use std::sync::Arc;
use std::time::Duration;

use a2e_core::{Error, Result};
use rmcp::model::SubscriptionFilter;
use serde_json::Map;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Link, gone};

/// Keeps a server telling of a resource, where that is a stream of its own.
#[derive(Debug)]
pub(in crate::mcp) struct Watched(#[allow(dead_code, reason = "it acts when dropped")] DropGuard);

impl Link {
    /// Whether it is over.
    pub(in crate::mcp) fn is_over(&self) -> bool {
        self.fate.over.is_cancelled()
    }

    /// Lines of the server that were no messages.
    pub(in crate::mcp) fn strays(&self) -> u64 {
        self.fate.strays()
    }

    /// Opens the stream in which newer servers tell of changed lists.
    pub(in crate::mcp) fn watch_lists(self: &Arc<Self>) {
        let filter = SubscriptionFilter::builder()
            .tools_list_changed()
            .prompts_list_changed()
            .resources_list_changed()
            .build();
        let capabilities = serde_json::from_value(self.facts.capabilities.clone().into());
        let filter = match capabilities {
            Ok(capabilities) => filter.supported_by(&capabilities),
            Err(_) => return,
        };
        if filter != SubscriptionFilter::default() {
            self.listen(filter, self.fate.over.clone());
        }
    }

    /// Has the server tell of a resource.
    ///
    /// # Errors
    /// When it refuses, or does not answer within `limit`.
    pub(in crate::mcp) async fn subscribe(
        self: &Arc<Self>,
        uri: &str,
        limit: Duration,
    ) -> Result<Option<Watched>> {
        if self.facts.is_modern {
            let filter = SubscriptionFilter::builder().resource_subscription(uri).build();
            let ends = self.fate.over.child_token();
            self.listen(filter, ends.clone());
            return Ok(Some(Watched(ends.drop_guard())));
        }
        self.told("resources/subscribe", uri, limit).await?;
        Ok(None)
    }

    /// Has a server of the older era tell of a resource no more.
    ///
    /// # Errors
    /// When it refuses, or does not answer within `limit`.
    pub(in crate::mcp) async fn unsubscribe(&self, uri: &str, limit: Duration) -> Result<()> {
        self.told("resources/unsubscribe", uri, limit).await
    }

    async fn told(&self, method: &str, uri: &str, limit: Duration) -> Result<()> {
        let params = Map::from_iter([("uri".to_owned(), uri.into())]);
        let asked = self.once(method, &params, None);
        let slow = |_| gone(format!("no answer to `{method}`"));
        let answered: Result<_, Error> = tokio::time::timeout(limit, asked).await.map_err(slow)?;
        answered.map(drop)
    }

    /// Listens until `ends`; a stream that breaks is opened again.
    fn listen(self: &Arc<Self>, filter: SubscriptionFilter, ends: CancellationToken) {
        let peer = self.peer.clone();
        tokio::spawn(async move {
            let listening = async {
                let mut wait = Duration::from_millis(100);
                loop {
                    match peer.listen(filter.clone()).await {
                        Ok(mut subscription) => {
                            wait = Duration::from_millis(100);
                            while let Ok(Some(_)) = subscription.next().await {}
                        }
                        Err(error) => {
                            tracing::debug!(%error, "a server of MCP does not tell of changes");
                        }
                    }
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(Duration::from_secs(30));
                }
            };
            tokio::select! {
                () = listening => {}
                () = ends.cancelled() => {}
            }
        });
    }
}
