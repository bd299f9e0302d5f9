//! An echo service on tarpc, bincode over a Unix socket.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tarpc::server::{BaseChannel, Channel};
use tarpc::tokio_serde::formats::Bincode;
use tarpc::{client, context, serde_transport, server};

use crate::Ended;
use crate::drive;

#[tarpc::service]
trait Echo {
    async fn echo(text: String) -> String;
}

#[derive(Clone)]
struct Server;

impl Echo for Server {
    async fn echo(self, _: context::Context, text: String) -> String {
        text
    }
}

pub async fn serve(path: &str) -> Ended {
    let mut incoming = serde_transport::unix::listen(path, Bincode::default).await?;
    while let Some(accepted) = incoming.next().await {
        // A probe that only looked whether we listen is gone already.
        let Ok(transport) = accepted else { continue };
        let config = server::Config { pending_response_buffer: 1024 };
        let channel = BaseChannel::new(config, transport);
        tokio::spawn(channel.execute(Server.serve()).for_each(|response| async move {
            tokio::spawn(response);
        }));
    }
    Ok(())
}

pub async fn drive(path: &str, size: usize, window: usize) -> Ended {
    let transport = serde_transport::unix::connect(path, Bincode::default).await?;
    let client = EchoClient::new(client::Config::default(), transport).spawn();
    let text: Arc<str> = "x".repeat(size).into();
    drive::run(window, || {
        let (client, text) = (client.clone(), text.clone());
        async move {
            let mut context = context::current();
            context.deadline = drive::now() + Duration::from_secs(60);
            let answer = client.echo(context, text.to_string()).await?;
            Ok(answer == *text)
        }
    })
    .await
}
