//! Upstreams by name: addresses and services that change, and a name service that fails.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::harness::{Gateway, Project};

/// Answers each connection with a name, once.
fn says(address: &str, name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind(address).unwrap();
    let bound = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer);
            let answer = format!(
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{name}",
                name.len()
            );
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    bound
}

/// What a name stands for.
#[derive(Clone)]
enum Record {
    A(Ipv4Addr),
    /// Weight, port, host.
    Srv(u16, u16, &'static str),
}

/// A name server (RFC 1035, RFC 2782) whose records a test changes; each lives for a second. A name without records is
/// answered with a failure.
#[derive(Clone)]
struct Names {
    address: SocketAddr,
    records: Arc<Mutex<HashMap<&'static str, Vec<Record>>>>,
}

impl Names {
    fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let names = Self { address: socket.local_addr().unwrap(), records: Arc::default() };
        let this = names.clone();
        std::thread::spawn(move || {
            let mut question = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut question) {
                let _ = socket.send_to(&this.answer(&question[..length]), from);
            }
        });
        names
    }

    fn set(&self, name: &'static str, records: &[Record]) {
        self.records.lock().unwrap().insert(name, records.to_vec());
    }

    fn answer(&self, question: &[u8]) -> Vec<u8> {
        let (mut labels, mut at) = (Vec::new(), 12);
        while question[at] != 0 {
            let length = usize::from(question[at]);
            labels.push(String::from_utf8_lossy(&question[at + 1..=at + length]).to_ascii_lowercase());
            at += length + 1;
        }
        let kind = u16::from_be_bytes([question[at + 1], question[at + 2]]);
        let asked = &question[12..at + 5];
        let records = self.records.lock().unwrap().get(&*labels.join(".")).cloned();
        let code = if records.is_some() { 0 } else { 2 };
        let datas: Vec<Vec<u8>> = records
            .unwrap_or_default()
            .iter()
            .filter_map(|record| match record {
                Record::A(ip) if kind == 1 => Some(ip.octets().to_vec()),
                Record::Srv(weight, port, host) if kind == 33 => {
                    let mut data = [&[0, 1][..], &weight.to_be_bytes(), &port.to_be_bytes()].concat();
                    for label in host.split('.') {
                        data.push(label.len() as u8);
                        data.extend_from_slice(label.as_bytes());
                    }
                    data.push(0);
                    Some(data)
                }
                _ => None,
            })
            .collect();
        let mut answer =
            [&question[..2], &[0x81, 0x80 | code, 0, 1, 0, datas.len() as u8, 0, 0, 0, 0]].concat();
        answer.extend_from_slice(asked);
        for data in datas {
            // A pointer to the question's name, its kind, the class, a second, the data.
            answer.extend_from_slice(&[0xc0, 12, 0, kind as u8, 0, 1, 0, 0, 0, 1, 0, data.len() as u8]);
            answer.extend_from_slice(&data);
        }
        answer
    }
}

fn serve(names: &Names, url: &str) -> Gateway {
    let route = json!({ "operationId": "get", "x-polygate-route": { "handler": {
        "export": "urlForwardHandler", "module": "$import(@polygate/runtime)", "options": { "upstream": "up" } } } });
    let routes = json!({ "openapi": "3.1.0", "info": { "title": "t", "version": "1" }, "paths": { "/": { "get": route } } });
    let settings = format!(
        "[dns]\nservers = [\"{}\"]\nmin-ttl = \"50ms\"\ntimeout = \"1s\"\n\n[upstreams.up]\nurl = {url:?}\n",
        names.address
    );
    let project =
        Project::new().file("config/routes.oas.json", &routes.to_string()).file("polygate.toml", &settings);
    Gateway::start("run", project.root(), &["--workers", "1"])
}

fn says_now(gateway: &Gateway, name: &str) {
    gateway.wait(|| (gateway.get("/").body == name).then_some(()), name);
}

#[test]
fn addresses_are_asked_for_again_and_kept_when_nobody_answers() {
    let one = says("127.0.0.1:0", "one");
    says(&format!("127.0.0.2:{}", one.port()), "two");
    let names = Names::start();
    names.set("up.test", &[Record::A(Ipv4Addr::new(127, 0, 0, 1))]);
    let gateway = serve(&names, &format!("http://up.test:{}", one.port()));
    says_now(&gateway, "one");
    names.set("up.test", &[Record::A(Ipv4Addr::new(127, 0, 0, 2))]);
    says_now(&gateway, "two");
    names.records.lock().unwrap().clear();
    let problem = || gateway.admin("/upstreams")["upstreams"][0]["problem"].as_str().map(str::to_owned);
    let problem = gateway.wait(problem, "the name service to fail");
    assert!(problem.contains("up.test"), "{problem}");
    assert_eq!(gateway.get("/").body, "two");
}

#[test]
fn services_bring_ports_and_weights() {
    let (one, two) = (says("127.0.0.1:0", "one"), says("127.0.0.1:0", "two"));
    let names = Names::start();
    names.set("host.test", &[Record::A(Ipv4Addr::LOCALHOST)]);
    let services = [Record::Srv(3, one.port(), "host.test"), Record::Srv(1, two.port(), "host.test")];
    names.set("_http._tcp.up.test", &services);
    let gateway = serve(&names, "srv+http://_http._tcp.up.test");
    let bodies: Vec<String> = (0..8).map(|_| gateway.get("/").body).collect();
    let ones = bodies.iter().filter(|body| *body == "one").count();
    assert_eq!((ones, bodies.len() - ones), (6, 2), "{bodies:?}");
}

#[test]
fn a_name_without_an_address_is_a_clear_answer() {
    let names = Names::start();
    let gateway = serve(&names, "http://nowhere.test:9");
    let reply = gateway.get("/");
    assert_eq!((reply.status, reply.json()["reason"].as_str()), (502, Some("upstream_unresolved")));
}

#[test]
fn localhost_is_known_without_a_name_server() {
    let one = says("127.0.0.1:0", "one");
    let names = Names::start();
    let gateway = serve(&names, &format!("http://localhost:{}", one.port()));
    says_now(&gateway, "one");
}
