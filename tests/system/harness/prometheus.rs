//! A Prometheus of a test's own, with the configuration and the rules that are shipped.

use std::{fs, path::Path, time::Duration};

use serde_json::Value;
use tempfile::TempDir;

use super::{
    eventually::eventually,
    process::{Command, Process, find_program},
    redis_server::free_port,
    server::Server,
    services::skip,
};

/// What is shipped.
pub const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy");
const LIMIT: Duration = Duration::from_secs(60);

/// A server that scrapes and evaluates every second.
pub struct Prometheus {
    _folder: TempDir,
    url: String,
    process: Process,
}

/// `promtool` at these files; `None` if it isn't installed and need not be.
pub fn promtool(arguments: &[&str], folder: &Path) -> Option<Process> {
    if find_program("promtool").is_none() {
        return skip("promtool is not installed (Debian's package prometheus)");
    }
    let command = Command::program("promtool", folder).args(arguments);
    Some(command.run(LIMIT))
}

/// The shipped rules with their minutes as seconds: the same conditions, sixty times as fast.
fn rules_in_seconds() -> String {
    let text = fs::read_to_string(format!("{SHIPPED}/prometheus/alerts.yaml")).unwrap();
    let characters: Vec<char> = text.chars().collect();
    let minute = |at: usize| {
        let before = at
            .checked_sub(1)
            .is_some_and(|at| characters[at].is_ascii_digit());
        let after = characters
            .get(at + 1)
            .is_none_or(|next| !next.is_alphanumeric());
        characters[at] == 'm' && before && after
    };
    let places = 0..characters.len();
    places
        .map(|at| if minute(at) { 's' } else { characters[at] })
        .collect()
}

impl Prometheus {
    /// Watches a server; `None` if Prometheus isn't installed and need not be.
    pub fn watch(server: &Server) -> Option<Self> {
        if find_program("prometheus").is_none() {
            return skip("prometheus is not installed (Debian's package of that name)");
        }
        let folder = TempDir::new().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        fs::write(path("token"), server.admin_token()).unwrap();
        fs::write(path("alerts.yaml"), rules_in_seconds()).unwrap();
        let shipped = fs::read_to_string(format!("{SHIPPED}/prometheus/prometheus.yml")).unwrap();
        let address = server.url.strip_prefix("http://").unwrap();
        let mut configuration = shipped.clone();
        for (shipped, here) in [
            ("15s", "1s"),
            ("/etc/prometheus/tidewright.token", &*path("token")),
            ("127.0.0.1:7433", address),
        ] {
            assert!(configuration.contains(shipped), "{shipped}");
            configuration = configuration.replace(shipped, here);
        }
        fs::write(path("prometheus.yml"), configuration).unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        let process = Command::program("prometheus", folder.path())
            .arg(format!("--config.file={}", path("prometheus.yml")))
            .arg(format!("--storage.tsdb.path={}", path("data")))
            .arg(format!("--web.listen-address={address}"))
            .start();
        let mut prometheus = Self {
            url: format!("http://{address}"),
            _folder: folder,
            process,
        };
        eventually(LIMIT, "Prometheus is ready", || {
            assert!(
                prometheus.process.is_running(),
                "{}",
                prometheus.process.stderr()
            );
            prometheus.get("/-/ready", &[]).map(drop)
        });
        Some(prometheus)
    }

    fn get(&self, path: &str, query: &[(&str, &str)]) -> Option<String> {
        let exchange = async {
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let request = client.get(format!("{}{path}", self.url)).query(query);
            let response = request.timeout(LIMIT).send().await.ok()?;
            let is_ready = response.status() != 503;
            response.text().await.ok().filter(|_| is_ready)
        };
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(exchange)
    }

    /// The samples that an expression gives now, each with its labels under `metric`.
    #[track_caller]
    pub fn query(&self, expression: &str) -> Vec<Value> {
        let answer = self.get("/api/v1/query", &[("query", expression)]).unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        answer["data"]["result"].as_array().unwrap().clone()
    }

    /// The labels of the alerts with this name that fire now.
    pub fn firing(&self, alert: &str) -> Vec<Value> {
        let alerts = format!("ALERTS{{alertstate=\"firing\", alertname=~\"{alert}\"}}");
        let alerts = self.query(&alerts).into_iter();
        alerts.map(|alert| alert["metric"].clone()).collect()
    }

    /// Waits until an alert fires, and gives its labels.
    pub fn await_alert(&self, alert: &str) -> Value {
        eventually(LIMIT, alert, || self.firing(alert).into_iter().next())
    }

    /// Waits until no alert with such a name fires any more.
    pub fn await_silence(&self, alert: &str) {
        eventually(LIMIT, &format!("{alert} is over"), || {
            self.firing(alert).is_empty().then_some(())
        });
    }
}
