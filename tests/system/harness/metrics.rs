//! Metrics as a scraper sees them.

use std::collections::BTreeMap;

/// The samples of one scrape.
#[derive(Clone, Debug, Default)]
pub struct Scrape(Vec<(String, BTreeMap<String, String>, f64)>);

impl Scrape {
    /// Reads OpenMetrics text.
    ///
    /// # Panics
    /// If it is none.
    pub fn read(text: &str) -> Self {
        assert!(text.ends_with("# EOF\n"), "it is cut off:\n{text}");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Self(lines.map(sample).collect())
    }

    /// Asks an endpoint without authentication.
    pub fn of(url: &str) -> Option<Self> {
        let exchange = async {
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let response = client.get(url).send().await.ok()?;
            response.text().await.ok()
        };
        let text = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(exchange);
        text.map(|text| Self::read(&text))
    }

    /// The values of all samples of a metric that have these labels.
    pub fn values(&self, metric: &str, labels: &[(&str, &str)]) -> Vec<f64> {
        let matching = self.0.iter().filter(|(name, found, _)| {
            name == metric
                && labels
                    .iter()
                    .all(|(label, value)| found.get(*label).is_some_and(|is| is == value))
        });
        matching.map(|(_, _, value)| *value).collect()
    }

    /// The value of the one sample that has these labels.
    #[track_caller]
    pub fn value(&self, metric: &str, labels: &[(&str, &str)]) -> f64 {
        let values = self.values(metric, labels);
        assert_eq!(values.len(), 1, "{metric} {labels:?}: {values:?}");
        values[0]
    }

    /// The sum of all samples that have these labels.
    pub fn sum(&self, metric: &str, labels: &[(&str, &str)]) -> f64 {
        self.values(metric, labels).iter().sum()
    }

    /// The values of a label over all samples of a metric.
    pub fn label(&self, metric: &str, label: &str) -> Vec<String> {
        let samples = self.0.iter().filter(|(name, ..)| name == metric);
        samples
            .filter_map(|(_, labels, _)| labels.get(label).cloned())
            .collect()
    }
}

/// Labels of tests hold no escaped characters.
fn sample(line: &str) -> (String, BTreeMap<String, String>, f64) {
    let (head, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
    let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
    let Some((name, labels)) = head.split_once('{') else {
        return (head.to_owned(), BTreeMap::new(), value);
    };
    let labels = labels.strip_suffix('}').unwrap_or_else(|| panic!("{line}"));
    let pairs = labels.split("\",").filter(|pair| !pair.is_empty());
    let labels = pairs.map(|pair| {
        let (label, value) = pair.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
        (label.to_owned(), value.trim_end_matches('"').to_owned())
    });
    (name.to_owned(), labels.collect(), value)
}
