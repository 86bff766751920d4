//! Arguments of `tidewright run` about its metrics.

use std::net::SocketAddr;

use clap::Args;

use super::cluster::ClusterArguments;
use crate::control::endpoint::MetricsAddress;

/// Where metrics are served.
#[derive(Debug, Default, Args)]
pub struct MetricsArguments {
    /// Serves this process's metrics for Prometheus at http://ADDRESS/metrics, such as 127.0.0.1:9464; port 0 takes a free one. With
    /// --launch, process I listens at the port plus I.
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<SocketAddr>,
    /// Lets other machines read them: they are served without authentication or encryption.
    #[arg(long, requires = "metrics")]
    metrics_public: bool,
}

impl MetricsArguments {
    /// Where this process serves them, if anywhere.
    ///
    /// # Errors
    /// If other machines could read them and nobody has said that they may, or there is no such port.
    pub fn address(&self, cluster: &ClusterArguments) -> Result<Option<MetricsAddress>, String> {
        let Some(mut address) = self.metrics else {
            return Ok(None);
        };
        if let (Some(_), Some(process)) = (cluster.launched_by, cluster.process)
            && address.port() != 0
        {
            let port = address.port().checked_add(process);
            let port = port.ok_or_else(|| {
                format!("--metrics {address}: process {process} would need a port above 65535")
            })?;
            address.set_port(port);
        }
        let public = self.metrics_public;
        MetricsAddress { address, public }.check().map(Some)
    }
}
