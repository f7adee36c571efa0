//! gRPC from end to end: a client and a server of Python's grpcio, with the gateway between them.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::harness::{Gateway, Project, skip};
use crate::tls::{self, House};

/// Every kind of call, as bytes without a schema.
const PYTHON: &str = r#"
import grpc, sys, time
from concurrent import futures
same = lambda data: data

def serve(cert, key):
    gone = []
    def one(data, context):
        seen = dict(context.invocation_metadata())
        context.send_initial_metadata((("x-first", "1"),))
        context.set_trailing_metadata((("x-last", seen.get("x-asked", "")), ("x-stamped", seen.get("x-stamp", ""))))
        return data[::-1]
    def many(data, context):
        for n in range(int(data)):
            yield b"%d" % n
    def sum_up(parts, context):
        return b"%d" % sum(len(part) for part in parts)
    def chat(parts, context):
        for part in parts:
            yield b"re:" + part
    def fail(data, context):
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not \u00fcber 100%")
    def never(data, context):
        context.add_callback(lambda: gone.append(time.monotonic()))
        while context.is_active():
            time.sleep(0.01)
        return b""
    def endless(data, context):
        context.add_callback(lambda: gone.append(time.monotonic()))
        yield b"first"
        while context.is_active():
            time.sleep(0.01)
    def left(data, context):
        return b"%d" % len(gone)
    kinds = [("One", grpc.unary_unary_rpc_method_handler, one), ("Many", grpc.unary_stream_rpc_method_handler, many),
             ("Sum", grpc.stream_unary_rpc_method_handler, sum_up), ("Chat", grpc.stream_stream_rpc_method_handler, chat),
             ("Fail", grpc.unary_unary_rpc_method_handler, fail), ("Never", grpc.unary_unary_rpc_method_handler, never),
             ("Endless", grpc.unary_stream_rpc_method_handler, endless), ("Left", grpc.unary_unary_rpc_method_handler, left)]
    server = grpc.server(futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t.T", {n: k(f) for n, k, f in kinds}),))
    if cert:
        pair = (open(key, "rb").read(), open(cert, "rb").read())
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    server.wait_for_termination()

def talk(address, cert, stamp):
    if cert:
        channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(open(cert, "rb").read()))
    else:
        channel = grpc.insecure_channel(address)
    unary = lambda name: channel.unary_unary("/t.T/" + name, same, same)
    reply, call = unary("One").with_call(b"abc", metadata=(("x-asked", "yes"),), timeout=10)
    assert reply == b"cba", reply
    assert dict(call.initial_metadata())["x-first"] == "1"
    last = dict(call.trailing_metadata())
    assert (last["x-last"], last["x-stamped"]) == ("yes", stamp), last
    big = bytes(3_000_000)
    assert unary("One")(big, timeout=10) == big
    replies = list(channel.unary_stream("/t.T/Many", same, same)(b"500", timeout=10))
    assert replies == [b"%d" % n for n in range(500)]
    parts = [bytes(n * 100) for n in range(100)]
    assert channel.stream_unary("/t.T/Sum", same, same)(iter(parts), timeout=10) == b"495000"
    # Each message is answered before the next one is sent.
    turn = futures.Future()
    turns = [futures.Future() for _ in range(5)]
    turns[0].set_result(b"0")
    replies = channel.stream_stream("/t.T/Chat", same, same)((turn.result() for turn in turns), timeout=10)
    for n, reply in enumerate(replies):
        assert reply == b"re:%d" % n, reply
        if n < 4:
            turns[n + 1].set_result(b"%d" % (n + 1))
    assert n == 4 and replies.code() == grpc.StatusCode.OK
    for name, code, detail in [("Fail", "FAILED_PRECONDITION", "not \u00fcber 100%"), ("Nothing", "UNIMPLEMENTED", None)]:
        try:
            unary(name)(b"", timeout=10)
            raise AssertionError(name)
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode[code], error
            assert detail is None or error.details() == detail, error
    try:
        unary("Never")(b"", timeout=0.3)
        raise AssertionError("no deadline")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
    before = int(unary("Left")(b"", timeout=10))
    endless = channel.unary_stream("/t.T/Endless", same, same)(b"", timeout=30)
    assert next(endless) == b"first"
    endless.cancel()
    # The deadline's and the cancelled one: the server hears of both.
    end = time.monotonic() + 10
    while int(unary("Left")(b"", timeout=10)) < 2:
        assert time.monotonic() < end, (before, "the server was not told")
        time.sleep(0.01)

def exceed(address):
    channel = grpc.insecure_channel(address)
    def code(call):
        try:
            call()
        except grpc.RpcError as error:
            return error.code(), error.details()
    expected = (grpc.StatusCode.RESOURCE_EXHAUSTED, "the request is longer than this route allows")
    # Before there is a response: of a message, and of all together.
    one = code(lambda: channel.unary_unary("/t.T/One", same, same)(bytes(20_000), timeout=10))
    assert one == expected, one
    parts = (bytes(1000) for _ in range(20))
    together = code(lambda: channel.stream_unary("/t.T/Sum", same, same)(parts, timeout=10))
    assert together == expected, together
    # In the middle of one: what was answered by then comes first.
    replies = []
    def chat():
        turns = [futures.Future() for _ in range(20)]
        turns[0].set_result(bytes(1000))
        for reply in channel.stream_stream("/t.T/Chat", same, same)((turn.result() for turn in turns), timeout=10):
            replies.append(reply)
            turns[len(replies)].set_result(bytes(1000))
    middle = code(chat)
    assert middle == expected and len(replies) == 9, (middle, len(replies))

if sys.argv[1] == "exceed":
    exceed(sys.argv[2])
elif sys.argv[1] == "serve":
    serve(sys.argv[2], sys.argv[3])
else:
    talk(sys.argv[2], sys.argv[3], sys.argv[4])
"#;

const POLICY: &str = r#"
export async function stamp(request: Request): Promise<Request> {
  const stamped = new Request(request);
  stamped.headers.set("x-stamp", "here");
  return stamped;
}
export async function pass(response: Response): Promise<Response> { return response; }
"#;

fn python(arguments: &[&str]) -> Command {
    let program = std::env::var_os("POLYGATE_TEST_PYTHON").unwrap_or_else(|| "python3".into());
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// Whether grpcio is here.
fn here(test: &str) -> bool {
    let known = python(&["-c", "import grpc"]).output().is_ok_and(|output| output.status.success());
    if !known {
        skip(test, "Python's package grpcio is not installed (pip install grpcio)");
    }
    known
}

/// A server of grpcio, until it is dropped.
struct Server(Child, String);

impl Server {
    fn start(cert: &str, key: &str) -> Self {
        let mut child = python(&["-c", PYTHON, "serve", cert, key]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self(child, line.trim().to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn talk(address: &str, cert: &str, stamp: &str, gateway: &Gateway) {
    let output = python(&["-c", PYTHON, "talk", address, cert, stamp]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{}", gateway.output());
}

#[test]
fn every_kind_of_call_passes_without_encryption() {
    if !here("grpc::every_kind_of_call_passes_without_encryption") {
        return;
    }
    let server = Server::start("", "");
    let plain = Project::new()
        .file("polygate.toml", "[connection]\nprotocol = \"http2\"\n")
        .forward("/t.T/{method}", &format!("http://127.0.0.1:{}", server.1), &[], &[])
        .run();
    talk(&format!("127.0.0.1:{}", plain.port()), "", "", &plain);
    drop(server);
    let server = Server::start("", "");
    let stamped = Project::new()
        .file("polygate.toml", "[connection]\nprotocol = \"http2\"\n")
        .file("modules/main.ts", POLICY)
        .policy("stamp", "stamp", serde_json::json!({}))
        .policy("pass", "pass", serde_json::json!({}))
        .forward("/t.T/{method}", &format!("http://127.0.0.1:{}", server.1), &["stamp"], &["pass"])
        .run();
    talk(&format!("127.0.0.1:{}", stamped.port()), "", "here", &stamped);
}

#[test]
fn a_call_that_is_too_long_is_told_so_in_grpc() {
    if !here("grpc::a_call_that_is_too_long_is_told_so_in_grpc") {
        return;
    }
    let server = Server::start("", "");
    let gateway = Project::new()
        .file("polygate.toml", "[connection]\nprotocol = \"http2\"\n")
        .forward("/t.T/{method}", &format!("http://127.0.0.1:{}", server.1), &[], &[])
        .body_limit("get,post", "/t.T/{method}", serde_json::json!(10_000))
        .dev();
    let address = format!("127.0.0.1:{}", gateway.port());
    let output = python(&["-c", PYTHON, "exceed", &address]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{}", gateway.output());
    let exchanges = gateway.admin("/exchanges?limit=10");
    let exchanges = exchanges["exchanges"].as_array().unwrap();
    let too_large = exchanges.iter().all(|one| one["reason"] == "body_too_large" && one["status"] == 200);
    assert!(exchanges.len() == 3 && too_large, "{exchanges:?}");
}

#[test]
fn every_kind_of_call_passes_with_encryption() {
    if !here("grpc::every_kind_of_call_passes_with_encryption") {
        return;
    }
    let House { project, .. } = House::new(&[&["localhost"]], "");
    let file = |name: &str| project.root().join("certs").join(name).to_str().unwrap().to_owned();
    let authority = file("ca.pem");
    let server = Server::start(&file("0.pem"), &file("0.key"));
    let settings = std::fs::read_to_string(project.root().join("polygate.toml")).unwrap();
    let settings = format!("{settings}[connection]\nprotocol = \"auto\"\nca-file = \"certs/ca.pem\"\n");
    let upstream = format!("https://localhost:{}", server.1);
    let project = project.file("polygate.toml", &settings).forward("/t.T/{method}", &upstream, &[], &[]);
    let gateway = project.run();
    talk(&format!("localhost:{}", tls::port(&gateway)), &authority, "", &gateway);
}
