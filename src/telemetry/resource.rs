//! Whose telemetry it is.

use opentelemetry::KeyValue;
use opentelemetry_sdk::{Resource, resource::TelemetryResourceDetector};

use super::Origin;
use super::settings::Settings;

const INSTANCE: &str = "service.instance.id";

/// The attributes of this process: what the user says of it, and over that what only the process knows.
pub(super) fn resource(settings: &Settings, origin: Origin<'_>) -> Resource {
    let (instance, known) = match origin {
        Origin::Server => ("server".to_owned(), Vec::new()),
        Origin::Job { job, process } => (
            format!("{job}/{process}"),
            vec![
                ("tidewright.job", job.to_owned()),
                ("tidewright.process", process.to_string()),
            ],
        ),
    };
    // Prometheus tells processes apart by it. The user's value is the same for a server and all that it starts.
    let said = settings.attributes.iter().rfind(|(key, _)| key == INSTANCE);
    let instance = match said {
        Some((_, said)) => format!("{said}/{instance}"),
        None => instance,
    };
    let mut attributes = std::collections::BTreeMap::from([
        ("service.name".to_owned(), "tidewright".to_owned()),
        (
            "service.version".to_owned(),
            env!("CARGO_PKG_VERSION").to_owned(),
        ),
    ]);
    attributes.extend(settings.attributes.iter().cloned());
    attributes.insert(INSTANCE.to_owned(), instance);
    attributes.extend(
        known
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value)),
    );
    let attributes = attributes.into_iter();
    Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attributes(attributes.map(|(key, value)| KeyValue::new(key, value)))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)], origin: Origin<'_>) -> Vec<(String, String)> {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318");
        let variables = [&[endpoint], variables].concat();
        let settings = super::super::settings::of(&variables).unwrap().unwrap();
        let resource = resource(&settings, origin);
        let told = resource
            .iter()
            .filter(|(key, _)| !key.as_str().starts_with("telemetry."));
        let mut told: Vec<_> = told
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .collect();
        told.sort();
        told
    }

    #[test]
    fn the_user_names_the_service_but_not_the_job() {
        let said = "deployment.environment=a%2Cb, service.name=x,tidewright.job=no";
        let variables = [
            ("OTEL_RESOURCE_ATTRIBUTES", said),
            ("OTEL_SERVICE_NAME", "features"),
        ];
        let origin = Origin::Job {
            job: "shop",
            process: 1,
        };
        let version = env!("CARGO_PKG_VERSION");
        let expected = [
            ("deployment.environment", "a,b"),
            ("service.instance.id", "shop/1"),
            ("service.name", "features"),
            ("service.version", version),
            ("tidewright.job", "shop"),
            ("tidewright.process", "1"),
        ];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(of(&variables, origin), expected);
        let server = of(&[], Origin::Server);
        assert_eq!(
            server[1],
            ("service.name".to_owned(), "tidewright".to_owned())
        );
        assert_eq!(server.len(), 3);
    }

    #[test]
    fn the_users_name_of_the_instance_stands_before_the_processes_own() {
        let said = [(
            "OTEL_RESOURCE_ATTRIBUTES",
            "service.instance.id=a,service.instance.id=host7",
        )];
        let instance = |origin| {
            let told = of(&said, origin).into_iter();
            told.filter(|(key, _)| key == INSTANCE)
                .map(|(_, value)| value)
                .collect::<Vec<_>>()
        };
        let process = |process| Origin::Job {
            job: "shop",
            process,
        };
        assert_eq!(instance(process(0)), ["host7/shop/0"]);
        assert_eq!(instance(process(1)), ["host7/shop/1"]);
        assert_eq!(instance(Origin::Server), ["host7/server"]);
    }
}
