//! The typed client.

use a2e_client::{Client, ClientError, Options};

use super::*;
use crate::toolkits::{ToolkitListRequest, Toolkits};

#[tokio::test(flavor = "multi_thread")]
async fn typed_toolkits() {
    let folder = tempfile::tempdir().unwrap();
    let (host, _) = start(&[("filesystem", within(folder.path()))]).await;
    let client = Client::connect(host.executor().connect(), Options::new("test")).await.unwrap();
    let toolkits = Toolkits::new(&client);
    assert!(!toolkits.list().await.unwrap()[0].configured);
    toolkits.configure("filesystem", &json!({ "root": "." })).await.unwrap();
    assert!(toolkits.list().await.unwrap()[0].configured);
    let none = ToolkitListRequest { filter_kind: "web".into(), ..Default::default() };
    assert!(toolkits.find(&none).await.unwrap().is_empty());
    let error = toolkits.configure("filesystem", &json!({ "root": "/" })).await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Remote(it) if it.code.as_str() == "runtime_error"),
        "{error:?}"
    );
    let error = toolkits.configure("filesystem", &5).await.unwrap_err();
    assert!(matches!(&error, ClientError::Protocol(_)), "{error:?}");
    client.close().await;
    host.stop().await;
}
