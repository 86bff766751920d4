//! What the standard `OTEL_` variables say. One that cannot be followed is an error: the export would be silent about it.

mod variables;

use std::{
    env, io,
    path::{self, PathBuf},
    time::Duration,
};

use reqwest::Url;
use reqwest::header::HeaderMap;
use rustls::pki_types::CertificateDer;

use self::variables::{count, headers, milliseconds, pairs};
use crate::pem;

/// What can be exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// What the process logs.
    Logs,
    /// What it measures.
    Metrics,
    /// Spans of checkpoints.
    Traces,
}

impl Signal {
    const ALL: [Self; 3] = [Self::Logs, Self::Metrics, Self::Traces];

    /// As paths and messages name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Logs => "logs",
            Self::Metrics => "metrics",
            Self::Traces => "traces",
        }
    }
}

/// Where a signal goes.
#[derive(Clone, Debug)]
pub struct Target {
    /// The signal.
    pub signal: Signal,
    /// The URL that it is posted to.
    pub url: Url,
    /// Headers of each request; they may be secrets.
    pub headers: HeaderMap,
    /// How long a request may take.
    pub timeout: Duration,
    /// Whose certificates the collector has; the system's authorities if there are none.
    pub authorities: Vec<CertificateDer<'static>>,
}

/// What is exported, and where to.
#[derive(Clone, Debug)]
pub struct Settings {
    targets: Vec<Target>,
    /// How often metrics are sent.
    pub metrics_every: Duration,
    /// What the user says of the process, the last of a name counts.
    pub attributes: Vec<(String, String)>,
}

/// Looks a variable up.
type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Where everything is sent.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// What names the file of who signs the collector's certificate.
const CERTIFICATE: &str = "CERTIFICATE";
/// By default.
const TIMEOUT: Duration = Duration::from_secs(10);
/// By default.
const METRICS_EVERY: Duration = Duration::from_secs(60);
/// Times of the exporters' queues, which read them themselves, and take no notice of wrong ones.
const DELAYS: [&str; 2] = ["OTEL_BLRP_SCHEDULE_DELAY", "OTEL_BSP_SCHEDULE_DELAY"];
/// Their sizes, of which they take any.
const SIZES: [&str; 4] = [
    "OTEL_BLRP_MAX_QUEUE_SIZE",
    "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
];

fn from_process(name: &str) -> Option<String> {
    let value = env::var_os(name)?;
    // An empty one counts as absent, and what is no text is refused where it is used.
    Some(value.to_string_lossy().into_owned()).filter(|value| !value.trim().is_empty())
}

/// True if the environment says where to export to, be it in a way that can be followed or not.
#[must_use]
pub fn is_wanted() -> bool {
    is_wanted_by(&from_process)
}

fn is_wanted_by(env: Env<'_>) -> bool {
    let is_off = env("OTEL_SDK_DISABLED").is_some_and(|off| off.eq_ignore_ascii_case("true"));
    let is_told = |signal: &Signal| env(&of_signal(*signal, "ENDPOINT")).is_some();
    !is_off && (env(ENDPOINT).is_some() || Signal::ALL.iter().any(is_told))
}

/// True of variables that hold secrets of whoever starts the process, which no job file may read.
#[must_use]
pub fn is_secret(variable: &str) -> bool {
    variable.starts_with("OTEL_EXPORTER_OTLP_") && variable.ends_with("HEADERS")
}

/// The variables that name files, with the places that they mean here, for processes that start elsewhere.
///
/// # Errors
/// If it cannot be told where this process is.
pub fn files() -> io::Result<Vec<(String, PathBuf)>> {
    let own = Signal::ALL.map(|signal| of_signal(signal, CERTIFICATE));
    let names = own.into_iter().chain([for_all(CERTIFICATE)]);
    let told = names.filter_map(|name| from_process(&name).map(|file| (name, file)));
    told.map(|(name, file)| Ok((name, path::absolute(file)?)))
        .collect()
}

/// The variable for all signals.
fn for_all(setting: &str) -> String {
    format!("OTEL_EXPORTER_OTLP_{setting}")
}

/// The variable of one signal.
fn of_signal(signal: Signal, setting: &str) -> String {
    let signal = signal.name().to_ascii_uppercase();
    format!("OTEL_EXPORTER_OTLP_{signal}_{setting}")
}

/// A setting of a signal: its own variable, or else the one for all. With the variable's name, for messages.
fn look(env: Env<'_>, signal: Signal, setting: &str) -> Option<(String, String)> {
    let names = [of_signal(signal, setting), for_all(setting)];
    names
        .into_iter()
        .find_map(|name| env(&name).map(|value| (name, value)))
}

impl Settings {
    /// What this process's environment says; `None` if nothing is to be exported.
    ///
    /// # Errors
    /// Which variable cannot be followed, why, and how to mend it.
    pub fn from_environment() -> Result<Option<Self>, String> {
        Self::of(&from_process)
    }

    fn of(env: Env<'_>) -> Result<Option<Self>, String> {
        if !is_wanted_by(env) {
            return Ok(None);
        }
        let targets = Signal::ALL.map(|signal| Target::of(env, signal));
        let targets: Result<Vec<_>, _> =
            targets.into_iter().filter_map(Result::transpose).collect();
        for name in DELAYS {
            let value = env(name).map(|value| milliseconds(name, &value));
            value.transpose()?;
        }
        for name in SIZES {
            env(name).map(|value| count(name, &value)).transpose()?;
        }
        let every = "OTEL_METRIC_EXPORT_INTERVAL";
        let metrics_every = env(every)
            .map(|value| milliseconds(every, &value))
            .transpose()?;
        let said = "OTEL_RESOURCE_ATTRIBUTES";
        let mut attributes = match env(said) {
            Some(value) => pairs(said, &value)?,
            None => Vec::new(),
        };
        attributes.extend(env("OTEL_SERVICE_NAME").map(|name| ("service.name".to_owned(), name)));
        Ok(Some(Self {
            targets: targets?,
            metrics_every: metrics_every.unwrap_or(METRICS_EVERY),
            attributes,
        }))
    }

    /// Where a signal goes, if it is exported.
    #[must_use]
    pub fn target(&self, signal: Signal) -> Option<&Target> {
        self.targets.iter().find(|target| target.signal == signal)
    }
}

impl Target {
    /// The URL for people. Its query may hold a secret.
    #[must_use]
    pub fn shown(&self) -> String {
        let mut shown = self.url.clone();
        shown.set_query(None);
        shown.set_fragment(None);
        shown.into()
    }

    /// `None` if the signal is not to be exported.
    fn of(env: Env<'_>, signal: Signal) -> Result<Option<Self>, String> {
        let exporter = format!("OTEL_{}_EXPORTER", signal.name().to_ascii_uppercase());
        match env(&exporter).as_deref() {
            None | Some("otlp") => {}
            Some("none") => return Ok(None),
            Some(other) => {
                return Err(format!(
                    "{exporter}={other} is not supported: use `otlp` or `none`"
                ));
            }
        }
        let url = match env(&of_signal(signal, "ENDPOINT")) {
            Some(value) => url(&of_signal(signal, "ENDPOINT"), &value)?,
            None => match env(ENDPOINT) {
                Some(value) => below(url(ENDPOINT, &value)?, signal),
                None => return Ok(None),
            },
        };
        refuse_unsupported(env, signal)?;
        let timeout = look(env, signal, "TIMEOUT");
        let timeout = timeout.map(|(name, value)| milliseconds(&name, &value));
        let given = look(env, signal, "HEADERS").map(|(name, value)| headers(&name, &value));
        let authorities = look(env, signal, CERTIFICATE)
            .map(|(name, value)| pem::certificates(value.as_ref(), &name));
        Ok(Some(Self {
            signal,
            url,
            headers: given.transpose()?.unwrap_or_default(),
            timeout: timeout.transpose()?.unwrap_or(TIMEOUT),
            authorities: authorities.transpose()?.unwrap_or_default(),
        }))
    }
}

/// What others can do with these variables and this exporter can't.
fn refuse_unsupported(env: Env<'_>, signal: Signal) -> Result<(), String> {
    let refused = [
        (
            "PROTOCOL",
            Some("http/protobuf"),
            "only http/protobuf is. Set it to that, and the endpoint to the collector's port for HTTP, which is 4318 by default",
        ),
        (
            "COMPRESSION",
            Some("none"),
            "requests are not compressed. Unset it",
        ),
        (
            "CLIENT_CERTIFICATE",
            None,
            "unset it, and give the collector a token in the HEADERS variable",
        ),
        (
            "CLIENT_KEY",
            None,
            "unset it, and give the collector a token in the HEADERS variable",
        ),
        (
            "TEMPORALITY_PREFERENCE",
            Some("cumulative"),
            "metrics count from the start of the process. Unset it, and let the collector make differences (cumulativetodelta)",
        ),
    ];
    for (setting, supported, mend) in refused {
        if let Some((name, value)) = look(env, signal, setting)
            && supported.is_none_or(|supported| !value.eq_ignore_ascii_case(supported))
        {
            return Err(format!("{name}={value} is not supported: {mend}"));
        }
    }
    Ok(())
}

fn url(variable: &str, value: &str) -> Result<Url, String> {
    let example =
        "Write http://HOST:4318, or https://.. if the collector has a certificate, or unset it";
    let wrong = |reason: &str| match value.contains(['@', '?', '#']) {
        // Not repeated: what stands there may be a secret, wherever a URL would have it.
        true => format!("{variable} (not shown: it may hold a secret) {reason}. {example}"),
        false => format!("{variable}={value} {reason}. {example}"),
    };
    let url = Url::parse(value.trim()).map_err(|error| wrong(&format!("is no URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("is no URL of http or https"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        // Not repeated: it may be a secret.
        return Err(format!(
            "{variable} holds a user or password, which is not supported: write `authorization=Basic%20..` into \
             OTEL_EXPORTER_OTLP_HEADERS instead"
        ));
    }
    Ok(url)
}

/// The endpoint of a signal below the one for all.
fn below(mut url: Url, signal: Signal) -> Url {
    // URLs of http always have a path.
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(["v1", signal.name()]);
    }
    url
}

/// What these variables say.
#[cfg(test)]
pub(super) fn of(variables: &[(&str, &str)]) -> Result<Option<Settings>, String> {
    Settings::of(&|name| {
        let found = variables.iter().rfind(|(variable, _)| *variable == name);
        found.map(|(_, value)| (*value).to_owned())
    })
}

#[cfg(test)]
mod tests;
