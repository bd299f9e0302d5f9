//! An echo service on tonic, HTTP/2 over a Unix socket. Message and service are written out as
//! `tonic-build` would, so that no protoc is needed.

use std::convert::Infallible;
use std::task::{Context, Poll};

use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service};
use tonic::server::{NamedService, UnaryService};
use tonic::transport::{Endpoint, Server, Uri};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::service_fn;

use crate::Ended;
use crate::drive;

/// `message Text { string text = 1; }`
#[derive(Clone, PartialEq, prost::Message)]
struct Text {
    #[prost(string, tag = "1")]
    text: String,
}

/// `service Echo { rpc Call (Text) returns (Text); }`
#[derive(Clone)]
struct Echo;

const PATH: &str = "/peers.Echo/Call";

impl NamedService for Echo {
    const NAME: &'static str = "peers.Echo";
}

impl UnaryService<Text> for Echo {
    type Response = Text;
    type Future = std::future::Ready<Result<Response<Text>, Status>>;

    fn call(&mut self, request: Request<Text>) -> Self::Future {
        std::future::ready(Ok(Response::new(request.into_inner())))
    }
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            if request.uri().path() != PATH {
                return Ok(Status::unimplemented("one method only").into_http());
            }
            let mut grpc = tonic::server::Grpc::new(ProstCodec::default());
            Ok(grpc.unary(Echo, request).await)
        })
    }
}

pub async fn serve(path: &str) -> Ended {
    let incoming = UnixListenerStream::new(UnixListener::bind(path)?);
    Server::builder().add_service(Echo).serve_with_incoming(incoming).await?;
    Ok(())
}

pub async fn drive(path: &str, size: usize, window: usize) -> Ended {
    let path = path.to_owned();
    let connect = service_fn(move |_: Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://unix").connect_with_connector(connect).await?;
    let text = "x".repeat(size);
    drive::run(window, || {
        let (mut client, text) = (tonic::client::Grpc::new(channel.clone()), text.clone());
        async move {
            client.ready().await?;
            let codec: ProstCodec<Text, Text> = ProstCodec::default();
            let request = Request::new(Text { text: text.clone() });
            let answer = client.unary(request, PathAndQuery::from_static(PATH), codec).await?;
            Ok(answer.into_inner().text == text)
        }
    })
    .await
}
