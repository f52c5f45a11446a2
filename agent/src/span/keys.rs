//! Names of attributes.

use super::wire::key;

key! {
    /// `http.request.method`.
    HTTP_REQUEST_METHOD = "http.request.method";
    /// `http.request.method_original`.
    HTTP_REQUEST_METHOD_ORIGINAL = "http.request.method_original";
    /// `http.request.body.size`.
    HTTP_REQUEST_BODY_SIZE = "http.request.body.size";
    /// `http.response.body.size`.
    HTTP_RESPONSE_BODY_SIZE = "http.response.body.size";
    /// `http.response.status_code`.
    HTTP_RESPONSE_STATUS_CODE = "http.response.status_code";
    /// `http.route`.
    HTTP_ROUTE = "http.route";
    /// `url.scheme`.
    URL_SCHEME = "url.scheme";
    /// `url.path`.
    URL_PATH = "url.path";
    /// `url.query`.
    URL_QUERY = "url.query";
    /// `url.full`.
    URL_FULL = "url.full";
    /// `url.template`.
    URL_TEMPLATE = "url.template";
    /// `server.address`.
    SERVER_ADDRESS = "server.address";
    /// `server.port`.
    SERVER_PORT = "server.port";
    /// `client.address`.
    CLIENT_ADDRESS = "client.address";
    /// `network.peer.address`.
    NETWORK_PEER_ADDRESS = "network.peer.address";
    /// `network.peer.port`.
    NETWORK_PEER_PORT = "network.peer.port";
    /// `network.protocol.name`.
    NETWORK_PROTOCOL_NAME = "network.protocol.name";
    /// `network.protocol.version`.
    NETWORK_PROTOCOL_VERSION = "network.protocol.version";
    /// `network.transport`.
    NETWORK_TRANSPORT = "network.transport";
    /// `user_agent.original`.
    USER_AGENT_ORIGINAL = "user_agent.original";
    /// `rpc.system.name`.
    RPC_SYSTEM_NAME = "rpc.system.name";
    /// `rpc.method`.
    RPC_METHOD = "rpc.method";
    /// `rpc.response.status_code`.
    RPC_RESPONSE_STATUS_CODE = "rpc.response.status_code";
    /// Messages of the request. Not in the conventions, which have no counts any more.
    REMORA_REQUEST_MESSAGES = "remora.rpc.request.messages";
    /// Messages of the response.
    REMORA_RESPONSE_MESSAGES = "remora.rpc.response.messages";
    /// `error.type`.
    ERROR_TYPE = "error.type";
    /// `thread.id`.
    THREAD_ID = "thread.id";
    /// Names of what is unknown about the request, and why. Not in the conventions.
    REMORA_INCOMPLETE = "remora.incomplete";
}
