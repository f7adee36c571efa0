//! The way to the collector: OTLP over HTTP (protobuf) or gRPC.

use std::future::Future;
use std::io;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use polygate_plan::{OtlpProtocol, Telemetry};
use prost::Message;
use tonic::metadata::{MetadataKey, MetadataValue};
use tonic::transport::{Channel, ClientTlsConfig};
use tonic::{Code, Request, Status};

use crate::trust;

/// What the collector is sent.
pub(super) trait Batch: Message + Clone + 'static {
    /// Where it goes below the endpoint (OTLP specification, OTLP/HTTP).
    const PATH: &'static str;

    /// Calls the collector's service for it.
    fn call(channel: Channel, request: Request<Self>) -> impl Future<Output = Result<(), Status>>;
}

impl Batch for ExportTraceServiceRequest {
    const PATH: &'static str = "/v1/traces";

    async fn call(channel: Channel, request: Request<Self>) -> Result<(), Status> {
        TraceServiceClient::new(channel).export(request).await.map(drop)
    }
}

impl Batch for ExportMetricsServiceRequest {
    const PATH: &'static str = "/v1/metrics";

    async fn call(channel: Channel, request: Request<Self>) -> Result<(), Status> {
        MetricsServiceClient::new(channel).export(request).await.map(drop)
    }
}

/// Sends batches, one at a time; blocks meanwhile.
pub(super) enum Sender {
    Http { agent: ureq::Agent, endpoint: String, headers: Vec<(String, String)> },
    Grpc(Box<Grpc>),
}

pub(super) struct Grpc {
    runtime: tokio::runtime::Runtime,
    channel: Channel,
    headers: Vec<(String, String)>,
    timeout: Duration,
}

/// A batch that the collector did not take.
pub(super) struct Refused {
    pub(super) why: String,
    /// Whether it may take it later.
    pub(super) retryable: bool,
}

impl Sender {
    pub(super) fn new(settings: &Telemetry, headers: &[(String, String)]) -> io::Result<Self> {
        let headers = headers.to_vec();
        let endpoint = settings.endpoint.to_string();
        let endpoint = endpoint.trim_end_matches('/');
        match settings.protocol {
            OtlpProtocol::Http => {
                let agent = ureq::Agent::config_builder()
                    .http_status_as_error(false)
                    .max_redirects(0)
                    .max_redirects_will_error(false)
                    .timeout_global(Some(settings.timeout))
                    .tls_config(trust::in_the_system())
                    .build()
                    .new_agent();
                // Some write the endpoint of traces in full.
                let endpoint = endpoint.strip_suffix(ExportTraceServiceRequest::PATH).unwrap_or(endpoint);
                Ok(Self::Http { agent, endpoint: endpoint.to_owned(), headers })
            }
            OtlpProtocol::Grpc => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                let channel = Channel::from_shared(endpoint.to_owned()).map_err(io::Error::other)?;
                let channel = if endpoint.starts_with("https:") {
                    let tls = ClientTlsConfig::new().with_native_roots();
                    channel.tls_config(tls).map_err(io::Error::other)?
                } else {
                    channel
                };
                let channel = {
                    let _within = runtime.enter();
                    channel.connect_timeout(settings.timeout).connect_lazy()
                };
                Ok(Self::Grpc(Box::new(Grpc { runtime, channel, headers, timeout: settings.timeout })))
            }
        }
    }

    pub(super) fn send<B: Batch>(&mut self, request: &B) -> Result<(), Refused> {
        match self {
            Self::Http { agent, endpoint, headers } => {
                let url = format!("{endpoint}{}", B::PATH);
                let mut post = agent.post(&url).header("content-type", "application/x-protobuf");
                for (name, value) in headers.iter() {
                    post = post.header(name, value);
                }
                match post.send(&request.encode_to_vec()[..]) {
                    Ok(answer) if answer.status().is_success() => Ok(()),
                    Ok(answer) => Err(Refused {
                        why: format!("{url} answered {}", answer.status()),
                        retryable: matches!(answer.status().as_u16(), 429 | 502..=504),
                    }),
                    Err(error) => Err(Refused { why: format!("{url}: {error}"), retryable: true }),
                }
            }
            Self::Grpc(grpc) => grpc.send(request),
        }
    }
}

impl Grpc {
    fn send<B: Batch>(&mut self, batch: &B) -> Result<(), Refused> {
        let mut request = Request::new(batch.clone());
        request.set_timeout(self.timeout);
        for (name, value) in &self.headers {
            let key = MetadataKey::from_bytes(name.as_bytes());
            if let (Ok(key), Ok(value)) = (key, MetadataValue::try_from(value)) {
                request.metadata_mut().insert(key, value);
            }
        }
        let (timeout, call) = (self.timeout, B::call(self.channel.clone(), request));
        let sent = self.runtime.block_on(async { tokio::time::timeout(timeout, call).await });
        match sent {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(status)) => Err(Refused {
                why: format!("the collector answered {:?}: {}", status.code(), status.message()),
                retryable: matches!(
                    status.code(),
                    Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted | Code::Aborted
                ),
            }),
            Err(_) => Err(Refused { why: format!("no answer within {timeout:?}"), retryable: true }),
        }
    }
}
