//! Who tells it: what is the same in all that a collector is sent.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource as ProtoResource;
use polygate_pipeline::RequestId;
use polygate_plan::Telemetry;

/// Who tells it.
#[derive(Clone)]
pub(super) struct Resource {
    service: String,
    instance: String,
    version: String,
}

impl Resource {
    pub(super) fn new(settings: &Telemetry, version: &str) -> Self {
        // Each process counts for itself: collectors must be able to tell one from another, also after a restart.
        let instance = RequestId::from_random(fastrand::u128(..)).as_str().to_owned();
        Self { service: settings.service_name.clone(), instance, version: version.to_owned() }
    }

    pub(super) fn attributes(&self) -> ProtoResource {
        let attributes = vec![
            text("service.name", &self.service),
            text("service.version", &self.version),
            text("service.instance.id", &self.instance),
            number("process.pid", i64::from(std::process::id())),
        ];
        ProtoResource { attributes, ..ProtoResource::default() }
    }

    pub(super) fn scope(&self) -> InstrumentationScope {
        InstrumentationScope {
            name: "polygate".to_owned(),
            version: self.version.clone(),
            ..InstrumentationScope::default()
        }
    }
}

pub(super) fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

pub(super) fn number(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}
