//! A plugin and a full `a2e` program that has it, in one file.
//!
//! ```text
//! cargo run --example hello_plugin -- call hello/req '{"name":"Ada"}'
//! ```

use a2e_core::plugin::{Answer, Handlers, Host, Plugin};
use a2e_core::request::Call;
use a2e_core::{Result, message, register_plugin};
use serde::{Deserialize, Serialize};

/// `hello/req`: the name to greet.
#[derive(Deserialize)]
struct HelloRequest {
    name: String,
}

/// `hello/resp`: the greeting.
#[derive(Serialize)]
struct HelloResponse {
    greeting: String,
}

message!(HelloResponse, "hello/resp");
message!(HelloRequest, "hello/req" => HelloResponse, First);

/// What `metadata` may hold for this plugin.
#[derive(Deserialize)]
struct HelloConfig {
    #[serde(default = "hello")]
    word: String,
}

fn hello() -> String {
    "Hello".to_owned()
}

struct Hello {
    word: String,
}

impl Hello {
    fn new(config: HelloConfig, _host: &Host) -> Result<Self> {
        Ok(Self { word: config.word })
    }

    fn hello(&self, request: HelloRequest, _call: &Call) -> Answer<HelloResponse> {
        Ok(HelloResponse { greeting: format!("{}, {}!", self.word, request.name) }.into())
    }
}

impl Plugin for Hello {
    fn handlers(on: &mut Handlers<Self>) {
        on.inline(Hello::hello);
    }
}

register_plugin!(
    Hello,
    cls = "examples.Hello",
    capability = "test",
    config = HelloConfig,
    build = Hello::new,
    about = "greets",
    default_settings = Some("{}")
);

fn main() -> std::process::ExitCode {
    a2e_server::cli(std::env::args_os())
}
