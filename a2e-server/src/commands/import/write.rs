//! Writes our YAML. Every text is quoted, so that none can be more than a text.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::block::Block;

pub(super) fn yaml(servers: &[Block], file: &Path) -> String {
    let mut out = format!(
        "# The servers of {}. Look at it, set the variables that it names, then:\n\
         #   a2e check FILE.yaml && a2e serve FILE.yaml\n\
         plugins:\n\
         \x20 - {{name: tools, type: tools, cls: a2e.caps.tools.plugin.ToolPlugin}}\n\
         \x20 - name: mcp\n\
         \x20   type: mcp\n\
         \x20   cls: a2e.caps.mcp.plugin.MCPPlugin\n\
         \x20   metadata:\n",
        file.display()
    );
    out.push_str(if servers.is_empty() { "      servers: {}\n" } else { "      servers:\n" });
    for server in servers {
        block(server, &mut out);
    }
    out
}

fn block(it: &Block, out: &mut String) {
    let mut lines = Vec::new();
    let text =
        |key: &str, value: &str| (!value.is_empty()).then(|| format!("{key}: {}", quoted(value)));
    lines.extend(text("command", &it.command));
    if !it.args.is_empty() {
        let args: Vec<String> = it.args.iter().map(|it| quoted(it)).collect();
        lines.push(format!("args: [{}]", args.join(", ")));
    }
    lines.extend(text("cwd", &it.cwd));
    lines.extend(text("url", &it.url));
    lines.extend(it.is_sse.then(|| "transport: sse".to_owned()));
    for (key, map) in [("env", &it.env), ("headers", &it.headers)] {
        lines.extend((!map.is_empty()).then(|| format!("{key}: {{{}}}", pairs(map))));
    }
    lines.extend(it.timeout.map(|timeout| format!("timeout: {timeout}")));
    lines.extend(it.is_disabled.then(|| "disabled: true".to_owned()));
    out.push_str("        ");
    out.push_str(&it.id);
    out.push_str(":\n");
    for line in lines {
        out.push_str("          ");
        out.push_str(&line);
        out.push('\n');
    }
}

/// JSON, which is YAML. Two `$` would be read as one.
fn quoted(text: &str) -> String {
    Value::from(text.replace("$$", "$$$$")).to_string()
}

fn pairs(map: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> =
        map.iter().map(|(key, value)| format!("{}: {}", quoted(key), quoted(value))).collect();
    pairs.join(", ")
}
