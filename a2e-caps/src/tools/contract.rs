//! What other capabilities may use of the tools capability: its wire types and its traits.

pub use super::filter::ListFilter;
pub(crate) use super::protocol::object;
pub use super::protocol::{
    TOOL_EVENT, ToolCallRequest, ToolCallResponse, ToolDefinition, ToolListRequest,
    ToolListResponse, ToolParameter, ToolResult,
};
