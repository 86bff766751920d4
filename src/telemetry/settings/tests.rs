use super::*;

const ALL: (&str, &str) = (ENDPOINT, "http://localhost:4318");

fn targets(variables: &[(&str, &str)]) -> Vec<(&'static str, String)> {
    let settings = of(variables).unwrap();
    let targets = settings
        .map(|settings| settings.targets)
        .unwrap_or_default();
    let targets = targets.iter();
    targets
        .map(|target| (target.signal.name(), target.url.to_string()))
        .collect()
}

#[test]
fn without_an_endpoint_nothing_is_exported() {
    assert!(
        targets(&[
            ("OTEL_SERVICE_NAME", "x"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        ])
        .is_empty()
    );
    assert!(of(&[ALL, ("OTEL_SDK_DISABLED", "True")]).unwrap().is_none());
}

#[test]
fn the_endpoint_for_all_is_followed_by_a_path_and_one_of_a_signal_is_not() {
    let with = |endpoint| targets(&[(ENDPOINT, endpoint)]);
    for endpoint in ["http://c:4318", "http://c:4318/"] {
        let expected =
            ["logs", "metrics", "traces"].map(|name| (name, format!("http://c:4318/v1/{name}")));
        assert_eq!(with(endpoint), expected, "{endpoint}");
    }
    assert_eq!(with("https://c/a/b")[0].1, "https://c/a/b/v1/logs");
    let own = (
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
        "http://m/api/v1/otlp/v1/metrics",
    );
    let only = ("metrics", own.1.to_owned());
    assert_eq!(targets(&[own]), std::slice::from_ref(&only));
    assert_eq!(targets(&[own, ALL])[1], only);
    assert_eq!(targets(&[own, ALL]).len(), 3);
    let off = [
        own,
        ALL,
        ("OTEL_LOGS_EXPORTER", "none"),
        ("OTEL_METRICS_EXPORTER", "otlp"),
    ];
    assert_eq!(targets(&off).len(), 2);
}

#[test]
fn a_signals_own_settings_go_before_those_for_all() {
    let settings = of(&[
        ALL,
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=1, b=x%20y%2Cz"),
        ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "a=2"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "1"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "100"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "none"),
    ]);
    let settings = settings.unwrap().unwrap();
    let of = |signal| settings.target(signal).unwrap();
    assert_eq!(of(Signal::Logs).headers["a"], "2");
    assert!(!of(Signal::Logs).headers.contains_key("b"));
    assert_eq!(of(Signal::Metrics).headers["b"], "x y,z");
    assert!(of(Signal::Metrics).headers["b"].is_sensitive());
    assert_eq!(of(Signal::Metrics).timeout, Duration::from_millis(2_500));
    assert_eq!(of(Signal::Traces).timeout, Duration::from_millis(1));
    assert_eq!(settings.metrics_every, Duration::from_millis(100));
}

#[test]
fn what_cannot_be_followed_is_refused_by_name() {
    for (name, value) in [
        (ENDPOINT, "localhost:4318"),
        (ENDPOINT, "not a URL"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "grpc://c:4317"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/key.pem"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/such/file.pem"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "0"),
        ("OTEL_BSP_SCHEDULE_DELAY", "5s"),
        ("OTEL_BLRP_MAX_QUEUE_SIZE", "many"),
        ("OTEL_BLRP_MAX_QUEUE_SIZE", "99999999999999999"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "1000001"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "0"),
        ("OTEL_METRICS_EXPORTER", "prometheus"),
        ("OTEL_RESOURCE_ATTRIBUTES", "team"),
    ] {
        let reason = of(&[ALL, (name, value)]).unwrap_err();
        assert!(reason.contains(name), "{name}={value}: {reason}");
    }
}

#[test]
fn sizes_have_a_limit_and_are_no_times() {
    let sizes = SIZES.map(|name| (name, "1000000"));
    assert!(of(&[&sizes[..], &[ALL]].concat()).is_ok());
    for name in SIZES {
        let reason = of(&[ALL, (name, "1000001")]).unwrap_err();
        assert!(
            reason.contains("from 1 to 1000000") && !reason.contains("milliseconds"),
            "{reason}"
        );
    }
}

#[test]
fn secrets_are_not_repeated() {
    let secret = "c2VjcmV0";
    for (name, value) in [
        (ENDPOINT, format!("https://me:{secret}@c")),
        (ENDPOINT, format!("me:{secret}@c:4318")),
        (ENDPOINT, format!("c:4318?api-key={secret}")),
        (ENDPOINT, format!("http://c:port/?api-key={secret}")),
        ("OTEL_EXPORTER_OTLP_HEADERS", secret.to_owned()),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            format!("authorization={secret}%0A"),
        ),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            format!("authorization={secret}%"),
        ),
    ] {
        let reason = of(&[ALL, (name, &value)]).unwrap_err();
        assert!(
            reason.contains(name) && !reason.contains(secret),
            "{reason}"
        );
    }
    let told = format!("https://c/a?api-key={secret}#{secret}");
    let settings = of(&[(ENDPOINT, &told)]).unwrap().unwrap();
    let target = settings.target(Signal::Logs).unwrap();
    assert_eq!(target.shown(), "https://c/a/v1/logs");
    assert!(target.url.as_str().contains(secret), "it is sent");
    assert!(
        is_secret("OTEL_EXPORTER_OTLP_LOGS_HEADERS") && is_secret("OTEL_EXPORTER_OTLP_HEADERS")
    );
    assert!(!is_secret("OTEL_EXPORTER_OTLP_ENDPOINT"));
}
